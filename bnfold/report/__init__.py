"""One report, several renderings.

`bnfold.report.model.Report` is what every rendering reads; `bnfold.report.build` makes it from
results, `bnfold.report.render` has the table of renderings. Nothing is computed in a rendering.
"""
