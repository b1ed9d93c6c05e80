"""Rule text to syntax tree.

In: the text of one rule. Out: nodes (`dsl.syntax.nodes`), or problems with their places and suggestions. `source` keeps
a text with its positions, `tokens` and `grammar.lark` define the language, `printer` turns nodes back into text.

Start reading at `dsl.syntax.parse`.
"""
