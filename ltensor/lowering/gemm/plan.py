"""Sizes of tiles and blocks for one dtype and vector width, and how columns are cut into panels.

Lowering layer, private to the gemm package: numbers only, no IR.
"""

from __future__ import annotations

from typing import NamedTuple

from ltensor.lowering.gemm.element import Element

#: Column counts (in vectors) are looked up in a table of this length; larger ones use the last.
SPLITS = 33


class Plan(NamedTuple):
    """Tile shapes and blocking.

    Attributes
    ----------
    shapes : dict[int, tuple[int, ...]]
        Vectors per tile that exist for each number of rows.
    block_k, block_m : int
        Depth of a packed panel of B; rows of a packed block of A.
    direct_bytes : int
        B is read in place if it is no larger than so many bytes.
    direct_depth, direct_rows : int
        It is read in place if K and M are at most this and its rows closer than a page: the cost of
        a copy is not repaid by the second cache's reach.
    far_rows : int
        The limit of M if its rows are a page or more apart, where a panel needs a page a row.
    dot_rows : int
        A transposed B is multiplied by dot products up to so many rows of A.
    pack_a_rows : int
        A is packed from so many rows on.
    kept_k : int
        Depth of the panels of a B that is packed once for many products: those of up to so many
        columns of A never read C.
    """

    shapes: dict[int, tuple[int, ...]]
    block_k: int = 256
    block_m: int = 1024
    direct_bytes: int = 1 << 16
    direct_depth: int = 512
    direct_rows: int = 256
    far_rows: int = 16
    dot_rows: int = 8
    pack_a_rows: int = 256
    kept_k: int = 512

    @classmethod
    def make(cls, el: Element) -> Plan:
        """Return the plan of an element type."""
        registers = 32 if el.vector_bytes == 64 else 16
        if el.kind in ("int", "bool"):
            limits = dict.fromkeys(range(1, 5), 2)
        elif el.is_complex:
            limits = {1: 8, 2: 4, 3: 3, 4: 3} if registers == 32 else {1: 4, 2: 2, 3: 2}
        elif registers == 32:
            # Fewer rows leave registers for wider tiles, which stream B in longer pieces.
            limits = {1: 16, 2: 8, 3: 4, 4: 4, 5: 3, 6: 3, 7: 3, 8: 3}
        else:
            limits = {1: 8, 2: 4, 3: 3, 4: 3, 5: 2, 6: 2}
        shapes = {
            rows: tuple(v for v in (1, 2, 3, 4, 8, 16) if v <= limit)
            for rows, limit in limits.items()
        }
        # Two multiply-adds per line and row hide more of the page walks than one.
        return cls(shapes, far_rows=32 if el.vector_bytes == 64 else 16)

    @property
    def max_rows(self) -> int:
        """Rows of the tallest tile."""
        return max(self.shapes)

    @property
    def panel_vectors(self) -> int:
        """Vectors across the widest tile of full height: the width of a packed panel of B."""
        return max(self.shapes[self.max_rows])

    def first_panel(self, rows: int) -> list[int]:
        """Return, for 0..SPLITS-1 vectors left, how many the next panel takes.

        Minimises the estimated cycles of the whole split, so that 4 vectors become 2 + 2 rather
        than 3 + 1 under a tile of at most 3.
        """
        best: list[float] = [0.0]
        take = [0]
        for left in range(1, SPLITS):
            cost, choice = min(
                (best[left - v] + self._cycles(rows, v), -v) for v in self.shapes[rows] if v <= left
            )
            best.append(cost)
            take.append(-choice)
        take[-1] = max(self.shapes[rows])
        return take

    @staticmethod
    def _cycles(rows: int, vectors: int) -> float:
        """Estimate cycles per step of K: two multiply-adds and two loads a cycle, latency 4."""
        return max(rows * vectors / 2, (rows + vectors) / 2, 4.0) + 0.5
