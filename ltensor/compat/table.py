"""Theano's module paths, and where in ltensor each name lives.  Data only.

`MODULES` maps a path of Theano to a `Module`: names with their targets (``"ltensor.module:name"``),
and ltensor modules in which every other name is looked up.  To make one more name of Theano
resolve, add it here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ltensor.compat.gone import ABSENT_MODULES, WHY_ABSENT

__all__ = ["ABSENT_MODULES", "MODULES", "WHY_ABSENT", "Module"]


@dataclass(frozen=True)
class Module:
    """What one of Theano's modules holds."""

    names: dict[str, str] = field(default_factory=dict)
    falls_to: tuple[str, ...] = ()
    missing: str = ""
    """Said when a name is not found."""

    @property
    def doc(self) -> str:
        """Docstring of the module object."""
        return "Part of Theano's module layout; " + (
            f"see {', '.join(self.falls_to)}." if self.falls_to else "see ltensor."
        )


def _at(target: str, names: str) -> dict[str, str]:
    """Map each of the names to the same name in one ltensor module."""
    return {name: f"{target}:{name}" for name in names.split()}


_TENSOR = ("ltensor.tensor",)
_SHIMS = "ltensor.compat.shims"

_ERRORS_OF_GOF = _at("ltensor.errors", "InconsistencyError MissingInputError MethodNotDefined")
_GRAPH = _at("ltensor", "Apply Constant Variable")
_GRAPH_TOOLS = _at(
    "ltensor.graph_tools",
    "ancestors clone clone_get_equiv inputs io_toposort is_same_graph list_of_nodes ops "
    "stack_search variables view_roots",
)
_OP = {
    **_at("ltensor", "Op"),
    "PureOp": "ltensor:Op",
    **_at("ltensor.test_value", "get_debug_values get_test_value missing_test_message"),
    **_at(_SHIMS, "debug_assert debug_error_message"),
}
_SHARED = {
    **_at("ltensor", "SharedVariable shared"),
    **_at("ltensor.shared", "generic shared_constructor"),
}
_IO = _at("ltensor", "In Out Param SharedVariable") | {
    "SymbolicInput": "ltensor:In",
    "SymbolicOutput": "ltensor:Out",
}
_MODES = _at(
    "ltensor.compile_modes",
    "FAST_COMPILE FAST_RUN Mode get_default_mode get_mode instantiated_default_mode "
    "predefined_linkers predefined_modes predefined_optimizers register_mode "
    "AddDestroyHandler AddFeatureOptimizer PrintCurrentFunctionGraph DebugMode MonitorMode",
) | {"optdb": "ltensor.optimizers:optdb"}
_REWRITES = _at(
    "ltensor.optimizers",
    "EquilibriumOptimizer LocalOptGroup LocalOptimizer OpRemove OpSub Optimizer PatternSub "
    "SeqOptimizer TopoOptimizer local_optimizer",
)
_NAVIGATORS = _at("ltensor.optimizers", "in2out out2in")
_REGISTERS = _at(
    "ltensor.optimizers",
    "register_canonicalize register_specialize register_specialize_device register_stabilize "
    "register_uncanonicalize register_useless",
)
_LINKERS = _at("ltensor.compile_modes", "PerformLinker VM_Linker")
_UNUSED = _at("ltensor.errors", "AliasedMemoryError UnusedInputError")
_FUNCTION = {
    **_at("ltensor", "function"),
    **_at("ltensor.function", "Function FunctionMaker Supervisor orig_function"),
    **_at("ltensor.function", "convert_function_input infer_reuse_pattern pfunc "
          "rebuild_collect_shared register_checker"),
}  # fmt: skip
_COMPILE_OPS = _at(
    "ltensor.compile_ops",
    "DeepCopyOp FromFunctionOp Rebroadcast Shape Shape_i SpecifyShape ViewOp as_op "
    "deep_copy_op shape shape_i specify_shape view_op",
)
_UNTIL = {"until": "ltensor.scan:until"}
_SCAN = {
    **_at("ltensor", "clone foldl foldr map reduce scan scan_checkpoints"),
    **_UNTIL,
    "OrderedUpdates": "ltensor:OrderedUpdates",
}
_SCAN_OP = {"Scan": "ltensor.scan:Scan"}
_DEBUG = _at(
    "ltensor.errors",
    "BadDestroyMap BadOptimization BadThunkOutput BadViewMap DebugModeError InvalidValueError "
    "StochasticOrder",
)
_RANDOM = _at("ltensor.random", "RandomStreams RandomStateSharedVariable randomstate_constructor")
_MRG = {
    **_at("ltensor.random", "MRG_RandomStreams guess_n_streams multMatVect"),
    "MRG_RandomStream": "ltensor.random:MRG_RandomStreams",  # met in a program
}
_RAW_RANDOM = _at(
    "ltensor.random",
    "RandomFunction RandomStateType RandomStreamsBase binomial choice multinomial normal "
    "permutation poisson random_integers random_state_type shuffle_row_elements uniform",
) | _at("ltensor.random.raw", "_infer_ndim_bcast")
_CUDA_OFF = _at(
    _SHIMS,
    "cuda_available cuda_enabled cuda_disabled dnn_available dnn_present pygpu_activated use",
)
_GPU = "ltensor.compat.gpu_names"
_DNN = _at(
    _GPU,
    "dnn_conv dnn_conv3d dnn_pool dnn_batch_normalization_train dnn_batch_normalization_test",
)
_GPU_MOVES = _at(
    _GPU,
    "as_gpuarray_variable as_cuda_ndarray_variable gpu_contiguous gpu_from_host host_from_gpu",
)
_GPU_TYPES = _at(
    _GPU,
    "CudaNdarrayType CudaNdarrayVariable CudaNdarrayConstant CudaNdarraySharedVariable "
    "GpuArrayType GpuArrayVariable GpuArrayConstant GpuArraySharedVariable",
)
_SPARSE = _at(
    _SHIMS,
    "enable_sparse SparseType SparseVariable SparseConstant SparseSharedVariable _is_sparse",
)
_NO_GPU = "ltensor has none of Theano's GPU operations; set config.device to 'cuda' instead"
_CONV = ("ltensor.tensor.nnet",)
_SUBTENSOR = _at(
    "ltensor.tensor",
    "AdvancedIncSubtensor AdvancedIncSubtensor1 AdvancedSubtensor AdvancedSubtensor1 "
    "IncSubtensor Subtensor advanced_inc_subtensor1 advanced_set_subtensor1 "
    "advanced_subtensor1 inc_subtensor set_subtensor take",
)
_SCALAR_TYPES = _at(
    "ltensor.scalar",
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 "
    "complex64 complex128 Scalar all_types as_scalar upcast upgrade_to_float "
    "upgrade_to_float_no_complex same_out_nocomplex identity Cast UnaryScalarOp BinaryScalarOp",
)
_LINALG = ("ltensor.tensor.nlinalg", "ltensor.tensor.slinalg")
_SANDBOX_LINALG = _at("ltensor.compat.sandbox_linalg", "psd spectral_radius_bound")
_CONFIG = _at(
    "ltensor.config",
    "AddConfigVar BoolParam ConfigParam EnumStr FloatParam IntParam StrParam TypedParam "
    "THEANO_FLAGS_DICT change_flags config",
)

MODULES: Final[dict[str, Module]] = {
    "theano": Module(
        {
            "__version__": f"{_SHIMS}:THEANO_VERSION",
            "_asarray": f"{_SHIMS}:_asarray",
            "theano": "theano",
            **{
                name: f"theano.{name}"
                for name in ["compile", "gof", "gradient", "printing", "scalar", "tensor"]
            },
            **_at("ltensor", "function shared scan map reduce foldl foldr clone dot In Out Param"),
            **_at("ltensor", "scan_checkpoints"),
            **_at("ltensor", "Mode OpFromGraph as_op SharedVariable Function FunctionMaker"),
            **_at("ltensor", "Op Apply Variable Constant Type grad Rop Lop pp OrderedUpdates"),
            **_at("ltensor", "jacobian hessian predefined_modes ProfileStats"),
            **_at("ltensor.gradient", "subgraph_grad"),
            **_at("ltensor.printing", "pprint"),
            "FunctionGraph": "ltensor.graph_tools:FunctionGraph",
            "config": "ltensor.config:config",
            "change_flags": "ltensor.config:change_flags",
            "generic": "ltensor.shared:generic",
            **_at(_SHIMS, "sparse_grad theano_logger"),
            **_at("ltensor.tensor", "get_scalar_constant_value"),
        },
        ("ltensor",),
    ),
    "theano.version": Module(
        {
            "version": f"{_SHIMS}:THEANO_VERSION",
            "full_version": f"{_SHIMS}:THEANO_VERSION",
            "short_version": f"{_SHIMS}:THEANO_VERSION",
            "git_revision": f"{_SHIMS}:GIT_REVISION",
        }
    ),
    "theano.updates": Module(_at("ltensor", "OrderedUpdates")),
    "theano.ifelse": Module({}, ("ltensor.ifelse",)),
    "theano.printing": Module(_at(_SHIMS, "hex_digest"), ("ltensor.printing",)),
    "theano.raise_op": Module({}, ("ltensor.raise_op", "ltensor.tensor")),
    "theano.gradient": Module(
        _at("ltensor.errors", "DisconnectedInputError NullTypeGradError GradientError")
        | _at("ltensor", "Variable ")
        | _at("ltensor.ir.types", "NullType disconnected_type null_type")
        | _at(_SHIMS, "OrderedDict")
        | {"np": "numpy"}
        | _at("ltensor.test_value", "get_debug_values")
        | _at("ltensor.compile_ops", "ViewOp"),
        ("ltensor.gradient",),
    ),
    "theano.configparser": Module(
        {**_CONFIG, "_config_var_list": f"{_SHIMS}:config_var_list"}, ("ltensor.config",)
    ),
    "theano.configdefaults": Module(
        {**_CONFIG, **_at(_SHIMS, "local_bitwidth python_int_bitwidth")}
    ),
    "theano.scalar": Module(
        {**_SCALAR_TYPES, **_at("ltensor.errors", "ComplexError IntegerDivisionError")},
        ("ltensor.scalar",),
    ),
    "theano.scalar.basic": Module(
        {**_SCALAR_TYPES, **_at("ltensor.errors", "ComplexError IntegerDivisionError")},
        ("ltensor.scalar",),
    ),
    "theano.scalar.basic_scipy": Module({}, ("ltensor.scalar",)),
    # ------------------------------------------------------------------ tensor
    "theano.tensor": Module(
        {
            "theano": "theano",
            "gof": "theano.gof",
            "scal": "theano.scalar",
            "nnet": "theano.tensor.nnet",
            "signal": "theano.tensor.signal",
            "config": "ltensor.config:config",
            **_at("ltensor", "grad Rop Lop jacobian hessian verify_grad"),
            **_at("ltensor", "Apply Constant Op Variable"),
            **_at(
                "ltensor.errors",
                "AdvancedIndexingError AsTensorError EmptyConstantError NotScalarConstantError "
                "ShapeError",
            ),
            **_at("ltensor.gradient", "DisconnectedType consider_constant"),
            **_at("ltensor.ir.types", "TensorType"),
            "Tensor": "ltensor.ir.types:TensorType",
            **_at("ltensor.printing", "pprint min_informative_str"),
            **_at(_SHIMS, "hashtype"),  # gone in 1.0.5, but met in programs
        },
        _TENSOR,
    ),
    "theano.tensor.basic": Module(
        {
            **_at(_SHIMS, "hashtype"),
            "tensor_copy": "ltensor.tensor:tensor_copy",
            **_at("ltensor", "Apply Constant Op Variable"),
            **_at(
                "ltensor.errors",
                "AsTensorError EmptyConstantError NotScalarConstantError ShapeError",
            ),
            "config": "ltensor.config:config",
        },
        _TENSOR,
    ),
    "theano.tensor.elemwise": Module(
        _at("ltensor.tensor", "All Any CAReduce CAReduceDtype DimShuffle Elemwise Prod Sum"),
        _TENSOR,
    ),
    "theano.tensor.subtensor": Module(
        {**_SUBTENSOR, **_at("ltensor.errors", "AdvancedIndexingError")}, _TENSOR
    ),
    "theano.tensor.var": Module(
        _at("ltensor.tensor", "TensorConstant TensorVariable _tensor_py_operators"), _TENSOR
    ),
    "theano.tensor.type": Module(_at("ltensor.ir.types", "TensorType"), ("ltensor.ir.types",)),
    "theano.tensor.type_other": Module(
        _at("ltensor.tensor", "NoneConst MakeSlice")
        | {"SliceType": "ltensor.ir.types:SliceType", "NoneTypeT": "ltensor.ir.types:NoneType"}
    ),
    "theano.tensor.sharedvar": Module(
        {
            **_at("ltensor.shared", "ScalarSharedVariable TensorSharedVariable shared_constructor"),
            "SharedVariable": "ltensor:SharedVariable",
            "shared": "ltensor:shared",
            **_at(_SHIMS, "tensor_constructor"),
        }
    ),
    "theano.tensor.sort": Module(
        _at("ltensor.tensor", "argsort sort argtopk topk topk_and_argtopk ArgSortOp SortOp")
    ),
    "theano.tensor.blas": Module({**_at(_SHIMS, "ldflags blas_header_text")}, _TENSOR),
    "theano.tensor.opt": Module(
        _at("ltensor.tensor", "Assert MakeVector ShapeFeature Shape_i assert_op make_vector")
        | _REGISTERS
        | _NAVIGATORS,
        missing="ltensor's passes are written otherwise; see docs/adding_a_pass.md",
    ),
    "theano.tensor.extra_ops": Module({}, ("ltensor.tensor.extra_ops",)),
    "theano.tensor.nlinalg": Module({}, ("ltensor.tensor.nlinalg",)),
    "theano.tensor.slinalg": Module({}, ("ltensor.tensor.slinalg",)),
    "theano.tensor.fft": Module({}, ("ltensor.tensor.fft",)),
    "theano.tensor.fourier": Module({}, ("ltensor.tensor.fourier",)),
    "theano.tensor.inplace": Module(
        {}, _TENSOR, missing="ltensor decides itself what is computed in place"
    ),
    "theano.tensor.xlogx": Module({}, ("ltensor.tensor.xlogx",)),
    "theano.tensor.utils": Module(
        _at(_SHIMS, "hash_from_ndarray")
        | _at("ltensor.tensor.constant_values", "shape_of_variables")
    ),
    "theano.tensor.io": Module({}, _TENSOR),
    "theano.tensor.shared_randomstreams": Module({**_RANDOM}),
    "theano.tensor.raw_random": Module(_RAW_RANDOM),
    "theano.tensor.signal": Module(),
    "theano.tensor.signal.pool": Module(
        {"bool_t": "ltensor.scalar:bool"}, ("ltensor.tensor.signal.pool",)
    ),
    # Gone in 1.0.5, but still what many programs import; pool_2d takes its old keywords.
    "theano.tensor.signal.downsample": Module(
        {
            "max_pool_2d": "ltensor.tensor.signal.pool:pool_2d",
            "max_pool_2d_same_size": "ltensor.tensor.signal.pool:max_pool_2d_same_size",
            "DownsampleFactorMax": "ltensor.tensor.signal.pool:Pool",
        }
    ),
    "theano.tensor.signal.conv": Module({}, ("ltensor.tensor.signal.conv",)),
    "theano.tensor.nnet": Module({}, _CONV),
    "theano.tensor.nnet.nnet": Module({}, _CONV),
    "theano.tensor.nnet.sigm": Module(
        {
            **_at("ltensor.scalar", "ScalarSigmoid ScalarSoftplus UltraFastScalarSigmoid"),
            "scalar_sigmoid": "ltensor.tensor.nnet:sigmoid",
            "scalar_softplus": "ltensor.tensor.nnet:softplus",
        },
        _CONV,
    ),
    "theano.tensor.nnet.conv": Module(
        # The old conv2d has other keywords (image_shape) than nnet.conv2d.
        _at("ltensor.tensor.nnet.conv", "conv2d ConvOp"),
        _CONV,
    ),
    "theano.tensor.nnet.abstract_conv": Module({}, _CONV),
    "theano.tensor.nnet.corr": Module({}, _CONV),
    "theano.tensor.nnet.corr3d": Module({}, _CONV),
    "theano.tensor.nnet.conv3d2d": Module(_at("ltensor.tensor.nnet.conv3d2d", "conv3d")),
    "theano.tensor.nnet.bn": Module({}, _CONV),
    "theano.tensor.nnet.neighbours": Module({}, _CONV),
    "theano.tensor.nnet.blocksparse": Module({}, ("ltensor.tensor.nnet.blocksparse",)),
    "theano.tensor.nnet.opt": Module(
        _REGISTERS, missing="ltensor's passes are written otherwise; see docs/adding_a_pass.md"
    ),
    # ------------------------------------------------------------------ graphs
    "theano.gof": Module(
        {
            **_GRAPH,
            **_OP,
            **_ERRORS_OF_GOF,
            **_at("ltensor", "Type"),
            **_at("ltensor.ir.types", "Generic"),
            "FunctionGraph": "ltensor.graph_tools:FunctionGraph",
            "generic": "ltensor.shared:generic",
            **_LINKERS,
            **_REWRITES,
            **_at(_SHIMS, "hashtype"),
        },
        missing="Theano's rewriting machinery has no counterpart; see docs/adding_a_pass.md",
    ),
    "theano.gof.graph": Module(
        {
            **_GRAPH,
            **_GRAPH_TOOLS,
            **_at("ltensor.printing.brief", "as_string"),
            "Node": f"{_SHIMS}:Node",
            "deque": "collections:deque",
        }
    ),
    "theano.gof.op": Module({**_OP, **_at("ltensor", "Apply")}),
    "theano.gof.type": Module(
        {
            "Type": "ltensor:Type",
            "Generic": "ltensor.ir.types:Generic",
            "generic": "ltensor.shared:generic",
        }
    ),
    "theano.gof.fg": Module(
        {**_ERRORS_OF_GOF, "FunctionGraph": "ltensor.graph_tools:FunctionGraph"}
    ),
    "theano.gof.null_type": Module(
        {"NullType": "ltensor.ir.types:NullType", "null_type": "ltensor.ir.types:null_type"}
    ),
    "theano.gof.opt": Module(
        _REWRITES | _NAVIGATORS,
        missing="Theano's rewriting machinery has no counterpart; see docs/adding_a_pass.md",
    ),
    "theano.gof.toolbox": Module(_at("ltensor.errors", "AlreadyThere")),
    "theano.gof.utils": Module(
        {
            **_at("ltensor.errors", "MethodNotDefined"),
            **_at(_SHIMS, "hashtype scratchpad object2 flatten"),
            **_at(_SHIMS, "give_variables_names memoize uniq unique"),
        }
    ),
    "theano.gof.link": Module({**_at(_SHIMS, "raise_with_op"), **_LINKERS}),
    "theano.gof.vm": Module(_LINKERS),
    "theano.gof.params_type": Module(_at(_SHIMS, "ParamsType")),
    "theano.gof.cmodule": Module(_at(_SHIMS, "get_lib_extension")),
    "theano.gof.compilelock": Module(_at(_SHIMS, "get_lock release_lock")),
    # ------------------------------------------------------------------ compiling
    "theano.compile": Module(
        {
            **_FUNCTION,
            **_IO,
            **_MODES,
            **_SHARED,
            **_COMPILE_OPS,
            **_UNUSED,
            "OpFromGraph": "ltensor:OpFromGraph",
            "ProfileStats": "ltensor:ProfileStats",
            "is_same_graph": "ltensor.graph_tools:is_same_graph",
            "NanGuardMode": "ltensor.nanguard:NanGuardMode",
        },
    ),
    "theano.compile.function": Module(_at("ltensor", "function")),
    "theano.compile.function_module": Module({**_FUNCTION, **_UNUSED}),
    "theano.compile.pfunc": Module(
        {**_FUNCTION, **_IO, "rebuild_collect_shared": "ltensor.function:rebuild_collect_shared"}
    ),
    "theano.compile.io": Module(_IO),
    "theano.compile.sharedvalue": Module(_SHARED),
    "theano.compile.mode": Module(_MODES),
    "theano.compile.ops": Module(_COMPILE_OPS),
    "theano.compile.builders": Module(_at("ltensor", "OpFromGraph")),
    "theano.compile.nanguardmode": Module(
        _at(_SHIMS, "contains_inf contains_nan flatten"), ("ltensor.nanguard",)
    ),
    "theano.compile.debugmode": Module({**_DEBUG, "DebugMode": "ltensor.compile_modes:DebugMode"}),
    "theano.compile.monitormode": Module(
        _at("ltensor.compile_modes", "MonitorMode") | _at(_SHIMS, "detect_nan")
    ),
    "theano.compile.profiling": Module(_at("ltensor", "ProfileStats")),
    # ------------------------------------------------------------------ loops
    "theano.scan_module": Module({**_SCAN, **_SCAN_OP}),
    "theano.scan_module.scan": Module(_SCAN),
    "theano.scan_module.scan_op": Module(_SCAN_OP),
    "theano.scan_module.scan_views": Module(_at("ltensor", "foldl foldr map reduce")),
    "theano.scan_module.scan_utils": Module(
        {
            **_UNTIL,
            **_at("ltensor", "clone"),
            **_at("ltensor.graph_tools", "equal_computations"),
            **_at("ltensor.graph_mapping", "map_variables"),
            **_at(_SHIMS, "DEPRECATED_ARG"),
        }
    ),
    # ------------------------------------------------------------------ sandbox, tools
    "theano.sandbox": Module(),
    "theano.sandbox.rng_mrg": Module(_MRG),
    "theano.sandbox.neighbours": Module({}, _CONV),
    "theano.sandbox.softsign": Module(_at("ltensor.tensor.nnet", "softsign")),
    "theano.sandbox.linalg": Module(_SANDBOX_LINALG, _LINALG),
    "theano.sandbox.linalg.ops": Module(_SANDBOX_LINALG, _LINALG),
    "theano.sandbox.cuda": Module(_CUDA_OFF | _GPU_MOVES | _GPU_TYPES, missing=_NO_GPU),
    "theano.sandbox.cuda.dnn": Module(_CUDA_OFF | _DNN, missing=_NO_GPU),
    "theano.sandbox.cuda.basic_ops": Module(_GPU_MOVES, missing=_NO_GPU),
    "theano.sandbox.cuda.type": Module(_GPU_TYPES, missing=_NO_GPU),
    "theano.sandbox.cuda.var": Module(_GPU_TYPES, missing=_NO_GPU),
    "theano.sandbox.gpuarray": Module(_CUDA_OFF, missing=_NO_GPU),
    "theano.gpuarray": Module(_CUDA_OFF | _GPU_TYPES, missing=_NO_GPU),
    "theano.gpuarray.dnn": Module(_CUDA_OFF | _DNN, missing=_NO_GPU),
    "theano.gpuarray.basic_ops": Module(_GPU_MOVES, missing=_NO_GPU),
    "theano.gpuarray.type": Module(_at(_SHIMS, "list_contexts") | _GPU_TYPES, missing=_NO_GPU),
    # As Theano's without SciPy: programs that can do without ask for enable_sparse.
    "theano.sparse": Module(_SPARSE, missing=ABSENT_MODULES["theano.sparse"]),
    "theano.sparse.type": Module(_SPARSE, missing=ABSENT_MODULES["theano.sparse"]),
    "theano.typed_list": Module(missing=ABSENT_MODULES["theano.typed_list"]),
    "theano.compat": Module({}, (_SHIMS,)),
    "theano.compat.python2x": Module({}, (_SHIMS,)),
    "theano.compat.six": Module({}, ("ltensor.compat.six",)),
    "theano.compat.six.moves": Module({}, ("ltensor.compat.six_moves",)),
    "theano.compat.six.moves.cPickle": Module({}, ("pickle",)),
    "theano.misc": Module(),
    "theano.misc.pkl_utils": Module({}, ("ltensor.compat.pkl_utils",)),
    "theano.misc.safe_asarray": Module(_at(_SHIMS, "_asarray")),
    "theano.misc.strutil": Module(_at(_SHIMS, "render_string")),
    "theano.tests": Module(),
    "theano.tests.unittest_tools": Module(
        _at("ltensor.errors", "WrongValue"), ("ltensor.compat.unittest_tools",)
    ),
    "theano.tests.disturb_mem": Module(_at(_SHIMS, "disturb_mem")),
}
