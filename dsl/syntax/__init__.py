"""Parses rule text into a syntax tree.

In: the text of one rule. Out: nodes (`dsl.syntax.nodes`), or problems with locations and suggestions. `source` keeps a
text together with its position in a file, `tokens` and `grammar.lark` define the language, and `printer` turns nodes
back into text.

Start reading at `dsl.syntax.parse`.
"""
