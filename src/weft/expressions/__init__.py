"""Expressions: a subset of the Common Expression Language, type-checked and compiled to Python closures.

The subset: fields, indices, literals with lists and maps, ``== != < <= > >= in``, ``&& || !``, ``? :``, ``has(a.b)``,
``size``, ``startsWith``, ``endsWith``, ``contains``, ``+`` of strings and of lists. Not in it, each with a message of its
own: arithmetic, regular expressions (``matches`` can take unbounded time), macros over lists, bytes and unsigned integers,
conversions. What is in it means what the language definition says. One extension: a name may have hyphens in it
(``my-node.text``).

Here does not belong: what a name refers to. The caller resolves names to types and to values.

Source: github.com/google/cel-spec, ``doc/langdef.md``.
"""

from weft.expressions.compile import Expression, Unresolved, compile_condition
from weft.expressions.syntax import ExpressionError, check_syntax

__all__ = ["Expression", "ExpressionError", "Unresolved", "check_syntax", "compile_condition"]
