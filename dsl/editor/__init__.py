"""Answers requests of an editor while rules are written.

In: rule files as they are open in an editor, and the position of the cursor. Out: the problems that `betrace check`
reports (`analysis`), what can follow at the cursor (`completion`), and what is there (`lookup`). `place` finds the rule
text around the cursor, also in files that cannot be read yet. Lines and columns count from 0, columns in characters.

Start reading at `dsl.editor.analysis`.
"""
