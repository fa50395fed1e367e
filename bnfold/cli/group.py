"""A group of commands in which the name of one command may be left out."""

from __future__ import annotations

import difflib

import click


class DefaultGroup(click.Group):
    """``bnfold MODEL`` is ``bnfold fold MODEL``: what names no command goes to the default one."""

    default_command = "fold"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and not self._is_ours(ctx, args[0]):
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)

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


def suggestion(word: str, known: list[str]) -> str:
    """`` Did you mean X?`` for a near miss, else "" """
    near = difflib.get_close_matches(word.lower(), [item.lower() for item in known], n=1)
    match = next((item for item in known if near and item.lower() == near[0]), "")
    return f" Did you mean {match}?" if match else ""
