"""Where memory comes from: slots, the frame, the table of addresses, results."""

from __future__ import annotations

from collections.abc import Sequence

from ltensor.lowering.cpu.operands import Operands
from ltensor.lowering.llvm_text import memory_type, scalar_type
from ltensor.lowering.program import Value


class Storage(Operands):
    """Takes memory and gives it back."""

    def slots_head(self, slots: Sequence[int], arena: int | None = None) -> list[str]:
        """Make ``%slotN``: a block of memory and its size, none yet or the arena's.

        ``arena`` is the word of the table of addresses that leads to it.
        """
        if not slots:
            return []
        size = 16 * len(slots)
        lines = [f"  %slots = alloca [{size} x i8], align 16"]
        if arena is None:
            self.declares.add("declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
            empty = f"(ptr align 16 %slots, i8 0, i64 {size}, i1 false)"
            lines.append(f"  call void @llvm.memset.p0.i64{empty}")
        else:
            lines += [
                f"  %arena.at = getelementptr i64, ptr @lt_table, i64 {arena}",
                "  %arena = load ptr, ptr %arena.at",
                f"  %mine = call i1 @lt_block_open(ptr %arena, ptr %slots, i64 {len(slots)})",
            ]
        return lines + [
            f"  %slot{slot} = getelementptr i8, ptr %slots, i64 {16 * place}"
            for place, slot in enumerate(slots)
        ]

    def slots_tail(self, slots: Sequence[int], arena: int | None = None) -> list[str]:
        """Give the memory of `slots_head` back."""
        if not slots:
            return []
        if arena is not None:
            args = f"ptr %arena, ptr %slots, i64 {len(slots)}, i1 %mine"
            return [f"  call void @lt_block_close({args})"]
        return [f"  call void @lt_block_give_all(ptr %slots, i64 {len(slots)})"]

    def local_text(self, number: int) -> str:
        """The reservation of an array in the frame."""
        dtype, count = self.program.locals[number]
        return f"  %local{number} = alloca [{count} x {memory_type(dtype)}], align 8"

    def do_ensure(self, value: Value) -> None:
        slot = value.attr
        size = self.scalar(value.args[0])
        ensure = f"call ptr @lt_block_ensure(ptr %slot{slot}, i64 {size})"
        if self.depth == 0:
            # once in a call: the shortest code
            self.registers[value] = new = self.put(ensure)
            got = self.label("got")
            empty = self.put(f"icmp eq ptr {new}, null")
            self.line(f"br i1 {empty}, label %out_of_memory, label %{got}")
            self.start_block(got)
            return
        grow, have = self.label("grow"), self.label("have")
        capacity = self.put(f"load i64, ptr {self._room(slot)}")
        more = self.put(f"icmp ugt i64 {size}, {capacity}")
        self.line(f"br i1 {more}, label %{grow}, label %{have}")
        self.start_block(grow)
        empty = self.put(f"icmp eq ptr {self.put(ensure)}, null")
        self.line(f"br i1 {empty}, label %out_of_memory, label %{have}")
        self.start_block(have)
        self.registers[value] = self.put(f"load ptr, ptr %slot{slot}")

    def _room(self, slot: int) -> str:
        """The address of the size of a slot's memory."""
        return self.put(f"getelementptr i64, ptr %slot{slot}, i64 1")

    def do_grow(self, value: Value) -> None:
        slot = value.attr
        used, size = (self.scalar(a) for a in value.args)
        grow, have, got = self.label("grow"), self.label("have"), self.label("got")
        room = self._room(slot)
        capacity = self.put(f"load i64, ptr {room}")
        more = self.put(f"icmp ugt i64 {size}, {capacity}")
        self.line(f"br i1 {more}, label %{grow}, label %{have}")
        self.start_block(grow)
        new = self.put(f"call ptr @lt_block_take(i64 {size})")
        empty = self.put(f"icmp eq ptr {new}, null")
        self.line(f"br i1 {empty}, label %out_of_memory, label %{got}")
        self.start_block(got)
        old = self.put(f"load ptr, ptr %slot{slot}")
        self.declares.add("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
        self.line(f"call void @llvm.memcpy.p0.p0.i64(ptr {new}, ptr {old}, i64 {used}, i1 false)")
        self.line(f"call void @lt_block_give(ptr {old})")
        self.line(f"store ptr {new}, ptr %slot{slot}")
        self.line(f"store i64 {size}, ptr {room}")
        self.line(f"br label %{have}")
        self.start_block(have)

    def do_remembered(self, value: Value) -> None:
        name = f"@lt_remembered{value.attr}"
        self.declares.add(f"{name} = internal global i64 0")
        self.registers[value] = name

    def do_slot(self, value: Value) -> None:
        self.registers[value] = self.put(f"load ptr, ptr %slot{value.attr}")

    def do_slot_address(self, value: Value) -> None:
        self.registers[value] = f"%slot{value.attr}"

    def do_alloc_output(self, value: Value) -> None:
        slot, type_number = value.attr
        self._sizes(value.args)
        self.declares.add("declare ptr @lt_alloc_output(ptr, i64, i32, i32, ptr)")
        made = self.put(
            f"call ptr @lt_alloc_output(ptr %frame, i64 {slot}, i32 {type_number}, "
            f"i32 {len(value.args)}, ptr %dims)"
        )
        self._made(value, made)

    def _sizes(self, sizes: Sequence[Value]) -> None:
        """The sizes of an output where the run time reads them."""
        self.dims_words = max(self.dims_words, len(sizes))
        for k, dim in enumerate(sizes):
            where = self.put(f"getelementptr i64, ptr %dims, i64 {k}")
            self.line(f"store i64 {self.scalar(dim)}, ptr {where}")

    def _made(self, value: Value, data: str) -> None:
        """Go on with the memory of an output if there is some."""
        empty = self.put(f"icmp eq ptr {data}, null")
        good = self.label("made")
        self.line(f"br i1 {empty}, label %out_of_memory, label %{good}")
        self.start_block(good)
        self.registers[value] = data

    def do_lend_output(self, value: Value) -> None:
        self.declares.add("declare void @lt_lend_output(ptr, i64, ptr)")
        cell = self.scalar(value.args[0])
        self.line(f"call void @lt_lend_output(ptr %frame, i64 {value.attr}, ptr {cell})")

    def do_adopt_output(self, value: Value) -> None:
        slot, type_number, block = value.attr
        *sizes, size = value.args
        self._sizes(sizes)
        self.declares.add("declare ptr @lt_adopt_output(ptr, i64, i32, i32, ptr, i64, ptr, ptr)")
        made = self.put(
            f"call ptr @lt_adopt_output(ptr %frame, i64 {slot}, i32 {type_number}, "
            f"i32 {len(sizes)}, ptr %dims, i64 {self.scalar(size)}, ptr %slot{block}, "
            f"ptr {self._room(block)})"
        )
        self._made(value, made)

    def do_local(self, value: Value) -> None:
        self.registers[value] = f"%local{value.attr}"

    def do_frame(self, value: Value) -> None:
        where = self.put(f"getelementptr i64, ptr %frame, i64 {value.attr}")
        self.registers[value] = self.put(f"load {scalar_type(value.dtype)}, ptr {where}")

    def do_table(self, value: Value) -> None:
        where = self.put(f"getelementptr i64, ptr @lt_table, i64 {value.attr}")
        self.registers[value] = self.put(f"load {scalar_type(value.dtype)}, ptr {where}")
