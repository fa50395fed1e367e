"""A group of commands in which the name of one command may be left out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem


class DefaultGroup(click.Group):
    """``bnfold MODEL`` is ``bnfold fold MODEL``: what names no command goes to the default one."""

    default_command = "fold"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and not self._is_ours(ctx, args[0]):
            self._refuse_misspelt(ctx, args[0])
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)

    def _refuse_misspelt(self, ctx: click.Context, first: str) -> None:
        """A word that is nearly a command, and no file, is meant to be that command."""
        guess = suggestion(first, self.commands)
        if guess and first.isalpha() and not ctx.resilient_parsing and not Path(first).exists():
            raise click.UsageError(f"there is no command or model {first!r}.{guess}")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands, and what may stand in the default command's place: options and files."""
        found = super().shell_complete(ctx, incomplete)
        command = self.commands[self.default_command]
        inner = click.Context(command, info_name=self.default_command, parent=ctx)
        if incomplete.startswith("-"):
            known = {item.value for item in found}
            return found + [
                item
                for item in command.shell_complete(inner, incomplete)
                if item.value not in known
            ]
        # First, since bash forgets what came before it.
        return [CompletionItem(incomplete, type="file"), *found]

    def _is_ours(self, ctx: click.Context, first: str) -> bool:
        options = [name for item in self.get_params(ctx) for name in item.opts]
        return first in self.commands or first in options

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of the default command stand in the group's own help."""
        command = self.commands[self.default_command]
        inner = click.Context(command, info_name=ctx.info_name, parent=ctx)
        options = [item for item in command.get_params(inner) if isinstance(item, click.Option)]
        rows = [item.get_help_record(inner) for item in options]
        with formatter.section("Options of 'bnfold MODEL'"):
            formatter.write_dl([row for row in rows if row and "--help" not in row[0]])
        super().format_options(ctx, formatter)


def suggestion(word: str, known: Iterable[str]) -> str:
    """`` Did you mean X?`` for a near miss, else "" """
    from bnfold.formats.text import near_miss

    match = near_miss(word, known)
    return f" Did you mean {match}?" if match else ""


def examples(*lines: str) -> str:
    """The end of a command's help; the mark keeps click from filling the lines."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
