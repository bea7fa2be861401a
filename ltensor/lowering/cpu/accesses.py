"""Elements in memory: loads and stores of scalars and of vectors, masked, by stride, gathered."""

from __future__ import annotations

from ltensor.ir import dtypes as dt
from ltensor.lowering.cpu import strided
from ltensor.lowering.cpu.operands import Operands
from ltensor.lowering.llvm_text import lanes_type, memory_type, suffix
from ltensor.lowering.program import Value


class Accesses(Operands):
    """Reads and writes elements."""

    def element_address(self, pointer: Value, offset: str, dtype: str) -> str:
        return self.put(
            f"getelementptr {memory_type(dtype)}, ptr {self.scalar(pointer)}, i64 {offset}"
        )

    def _addresses(self, pointer: Value, offset: Value, dtype: str) -> str:
        """The addresses of each lane's element."""
        return self.put(
            f"getelementptr {memory_type(dtype)}, ptr {self.scalar(pointer)}, "
            f"<{self.lanes} x i64> {self.vector(offset)}"
        )

    def do_load(self, value: Value) -> None:
        pointer, offset = value.args
        dtype = value.dtype
        align = 8 if dtype == "ptr" else dt.item_size(dtype)
        analysis = self.analysis
        if analysis is None or value not in analysis.varying:
            where = self.element_address(pointer, self.scalar(offset), dtype)
            loaded = self.put(f"load {memory_type(dtype)}, ptr {where}, align {align}")
            if dtype == "bool":
                loaded = self.put(f"icmp ne i8 {loaded}, 0")
            self.registers[value] = loaded
            self.after_uniform(value)
            return
        stored = lanes_type(dtype, self.lanes, memory=True)
        name = suffix(dtype, self.lanes, memory=True)
        mask_type = f"<{self.lanes} x i1>"
        stride = analysis.stride(offset)
        if stride == 1:
            where = self.element_address(pointer, self.base(offset), dtype)
            if self.mask is None:
                loaded = self.put(f"load {stored}, ptr {where}, align {align}")
            else:
                self.declares.add(
                    f"declare {stored} @llvm.masked.load.{name}.p0(ptr, {mask_type}, {stored})"
                )
                loaded = self.put(
                    f"call {stored} @llvm.masked.load.{name}.p0(ptr align {align} {where}, "
                    f"{mask_type} {self.mask}, {stored} zeroinitializer)"
                )
        elif stride is not None and analysis.whole(offset):
            where = self.element_address(pointer, self.base(offset), dtype)
            loaded = strided.load(self, where, stride, memory_type(dtype), name, align)
        else:
            pointers = f"<{self.lanes} x ptr>"
            where = self._addresses(pointer, offset, dtype)
            mask = self.mask or "splat (i1 true)"
            self.declares.add(
                f"declare {stored} @llvm.masked.gather.{name}.v{self.lanes}p0({pointers}, "
                f"{mask_type}, {stored})"
            )
            loaded = self.put(
                f"call {stored} @llvm.masked.gather.{name}.v{self.lanes}p0({pointers} "
                f"align {align} {where}, {mask_type} {mask}, {stored} zeroinitializer)"
            )
        if dtype == "bool":
            loaded = self.put(f"icmp ne {stored} {loaded}, zeroinitializer")
        self.vectors[value] = loaded

    def do_store(self, value: Value) -> None:
        pointer, offset, stored_value = value.args
        dtype = value.attr
        align = 8 if dtype == "ptr" else dt.item_size(dtype)
        analysis = self.analysis
        if analysis is None or analysis.is_single(value):
            register = self.scalar(stored_value)
            if dtype == "bool":
                register = self.put(f"zext i1 {register} to i8")
            where = self.element_address(pointer, self.scalar(offset), dtype)
            self.line(f"store {memory_type(dtype)} {register}, ptr {where}, align {align}")
            return
        stored = lanes_type(dtype, self.lanes, memory=True)
        name = suffix(dtype, self.lanes, memory=True)
        mask_type = f"<{self.lanes} x i1>"
        register = self.vector(stored_value)
        if dtype == "bool":
            register = self.put(f"zext {mask_type} {register} to {stored}")
        stride = analysis.stride(offset)
        if stride is not None and stride != 1 and analysis.whole(offset):
            where = self.element_address(pointer, self.base(offset), dtype)
            strided.store(self, where, stride, memory_type(dtype), name, align, register)
            return
        if stride == 1:
            where = self.element_address(pointer, self.base(offset), dtype)
            if self.mask is None and self.past_cache:
                text = f"store {stored} {register}, ptr {where}"
                width = self.lanes * dt.item_size(dtype)
                self.waiting_stores.append((text, align, width))
                return
            if self.mask is None:
                self.line(f"store {stored} {register}, ptr {where}, align {align}")
                return
            self.declares.add(
                f"declare void @llvm.masked.store.{name}.p0({stored}, ptr, {mask_type})"
            )
            self.line(
                f"call void @llvm.masked.store.{name}.p0({stored} {register}, "
                f"ptr align {align} {where}, {mask_type} {self.mask})"
            )
            return
        pointers = f"<{self.lanes} x ptr>"
        where = self._addresses(pointer, offset, dtype)
        mask = self.mask or "splat (i1 true)"
        self.declares.add(
            f"declare void @llvm.masked.scatter.{name}.v{self.lanes}p0({stored}, {pointers}, "
            f"{mask_type})"
        )
        self.line(
            f"call void @llvm.masked.scatter.{name}.v{self.lanes}p0({stored} {register}, "
            f"{pointers} align {align} {where}, {mask_type} {mask})"
        )

    def do_prefetch(self, value: Value) -> None:
        if self.mask is None:
            pointer, offset = value.args
            where = self.element_address(pointer, self.base(offset), value.attr)
            self.declares.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
            self.line(f"call void @llvm.prefetch.p0(ptr {where}, i32 0, i32 3, i32 1)")

    def do_ptradd(self, value: Value) -> None:
        pointer, offset = value.args
        self.registers[value] = self.element_address(pointer, self.scalar(offset), value.attr)

    def do_memcpy(self, value: Value) -> None:
        self.declares.add("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
        target, source, size = (self.scalar(a) for a in value.args)
        self.line(
            f"call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {source}, i64 {size}, i1 false)"
        )
