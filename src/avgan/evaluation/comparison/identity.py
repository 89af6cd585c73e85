"""What a rival is, as a hash: answers of another one are not taken for its own.

Of its code counts what runs: that of its module and of the modules beside it that it imports, without comments,
docstrings and the words of cards, so that a better wording does not call for a new training.
"""

import ast
import hashlib
import importlib.util
from pathlib import Path

from avgan.baselines.method import Card

INTERFACE = "avgan.baselines.method"
"""How methods are asked is no part of what they are."""


def identity_of(card: Card, module: str, extra: str | None = None) -> str:
    """Hash of a rival's name, of what it was pretrained on, of its further recordings if any, and of its code."""
    digest = hashlib.sha256(f"{card.name}\n{card.pretrained_on}\n{extra or ''}\n".encode())
    package, waiting, found = module.rpartition(".")[0], [module], {INTERFACE}
    while waiting:
        name = waiting.pop()
        spec = importlib.util.find_spec(name)
        if name in found or spec is None or spec.origin is None:
            continue
        found.add(name)
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == package:
                waiting += [f"{package}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}."):
                waiting.append(node.module or "")
        digest.update(f"{name}\n{ast.unparse(_Bare().visit(tree))}\n".encode())
    return digest.hexdigest()


class _Bare(ast.NodeTransformer):
    """Leaves out what has no effect on answers."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "Card":
            node.args, node.keywords = [], []
        return self.generic_visit(node)
