"""Names of ours that a library also has, as an attribute or a parameter: a script's names keep their spelling there.

A test holds that the list has every such name; it is written out because a plan loads none of those libraries.
"""

RESERVED = frozenset(
    """
    ABC AVG AbstractContextManager AdamW Annotated Any ArgumentParser ArithmeticError Array ArrayLike
    ArrowException AttributeError B BadZipFile BaseException Block BufferedReader BytesIO C CDLL CHECK_NONE
    Callable ClassVar Codec Compressor Counter DOTALL DataType Dataset Decompressor Dirichlet DistBackendError
    EFBIG EINVAL EISDIR ENOENT EOFError Event Exception F FILTER_LZMA2 FORMAT_RAW FORMAT_XZ Field
    FileNotFoundError Future Generator H IGNORECASE IndexError Int64Array IpcReadOptions Iterable Iterator K
    KeyError LZMACompressor LZMADecompressor LZMAError Literal MAGIC MAX Mapping MappingProxyType MemoryError
    Module ModuleList NDArray NamedTuple Namespace NoReturn NotADirectoryError OSError OSFile O_CLOEXEC
    O_NOFOLLOW O_NONBLOCK O_RDONLY O_RDWR Optimizer OrderedDict OverflowError P PREFIXES PRESET_EXTREME
    Parameter ParameterList ParquetFile Path Protocol PurePath Quantized R RecursionError ReduceOp
    RemovableHandle RuntimeError S SGD S_IFBLK S_IFCHR S_IFDIR S_IFIFO S_IFLNK S_IFMT S_IFSOCK S_ISDIR S_ISREG
    SafetensorError Schema Self SentencePieceProcessor Sequence SimpleNamespace Size Stream Struct Structure T
    TYPE_CHECKING Table Tag TemporaryDirectory Tensor Text Thread ThreadPoolExecutor Trace TracebackType
    TypeError TypeVar U Use VERSION ValueError ZstdCompressor ZstdDecompressor ZstdError _ _Environ _PREFIX
    _Stream _Work _add _block _buffer _check _config _count _device _error _evaluate _exit _fields _foreach_add_
    _foreach_copy_ _foreach_mul_ _fused_adamw_ _indices _kind _library _line _memory _meta _module _muon _parser
    _parts _place _rank _ranks _run _scaled_dot_product_flash_attention _seen _shape _size _slice _stream
    _streams _tensor _walk a abs absolute abstractmethod accept accumulate add add_ add_argument add_parser
    add_subparsers addcmul_ advance advice after all all_gather_into_tensor all_reduce allow_nan allow_pickle
    allow_tf32 alpha amax amsgrad any append arange argmax argmin args argsort arguments array array_equal
    arrays artifact asarray ascontiguousarray asdict astuple astype at aten attention attn_mask autograd average
    axis b backend backends backward baddbmm barrier base batch batches before best beta beta1 beta2 betas
    bfloat16 bias bincount bit_length bits bitwise_xor block blocks body bool bool_ bos_id bound boundary bounds
    broadcast broadcast_object_list buffer byref byte bytearray bytes c c_char_p c_int c_uint c_ulonglong
    c_void_p cache cached_property call cancel candidates canonical cast cat chain check checkpoint choices
    cholesky_ex chunk chunks clamp clamp_ clamp_min classmethod clear clip clip_grad_norm_ clone close closing
    cls code codec column column_names columns command compare compile compress compression compressobj
    concatenate concentration config constant content content_size context contextmanager contexts contiguous
    copy copy_ cos count counts cpu create_string_buffer cross_entropy ctypes cuda cudnn cumsum daemon data
    dataclass dataset datasets decay decode decompress deepcopy default default_factory delay dequantize deque
    descending description descriptor dest destroy_process_group detach deterministic device device_count
    device_type devices diagonal dict diff difference digest digits dim dir dist div_ divide divmod done double
    dtype dtypes dumps dynamic edges einsum element_size elements embedding empty empty_like enable_cudnn_sdp
    enable_flash_sdp enable_gqa enable_math_sdp enable_mem_efficient_sdp encode end endswith ensure_ascii
    entries entry enumerate environ environb eof epoch epochs eps eq equal equals errno error errors errstate
    eval event exception exclude exists exit_code exp exp2 expand expm1 extend extra eye factor fdopen field
    fields file filename fileno files fill fill_ filters finish finished first first_line flags flat flatnonzero
    flatten flip float float16 float32 float64 floating floor flush format forward frame framework free
    from_bytes from_iterable from_numpy frombuffer fromfile fromkeys frozen frozenset fsdecode fspath fstat
    fsync ftruncate full full_like fullgraph fullmatch function functional fused future futures gain gamma
    gather ge generator generic get get_args get_batch get_device_name get_device_properties get_field_index
    get_frame_parameters get_num_threads get_piece_size get_rank get_tensor get_world_size getattr gethostname
    getpid getvalue given glob grad gradient gradients grid group groups gt h handle handles hard hashlib header
    help hex hexdigest hidden high hint home hook hooks how i id id_to_piece iinfo in_features in_order
    included_fields indent index indices inf inference_mode info init init_process_group initargs initial
    initializer inputs int int16 int32 int64 int8 integer intersection intervals io ipc is_absolute is_available
    is_byte is_causal is_control is_cuda is_dir is_file is_finished is_flash_attention_available
    is_floating_point is_initialized is_last is_nccl_available is_relative_to is_set is_torchelastic_launched
    is_unknown is_unused isdecimal isdisjoint isfile isfinite isinstance isprintable issubdtype item items
    itemsize iter iter_unpack iterations iterdir itertools join json jump k keepdim keepdims key keys kind
    kw_only label largest last le leaky_relu left legacy len length lengths level lgwin library linalg line
    linear lines link list load load_state_dict loads log log1p log2 log_softmax logaddexp logical_or logits
    long loss low lr lru_cache lstat lstrip lt lzma mT machine magic main major make manual_seed map maps mask
    masked_fill match materialize_grads math matmul matrices matrix max max_length max_memory_allocated
    max_workers maximize maximum maxlen mean members memfd_create memlimit memmap memory memory_map memoryview
    merge message meta metadata metavar method min minimum minlength minor missing_ok mkdir mmap mode model
    model_proto models module module_name momentum monotonic most_common mul_ multinomial muon n name named
    named_modules named_parameters names narrow nbytes ndim negative negative_slope network new_empty new_file
    new_zeros newbyteorder next njit nn no_grad non_blocking nonzero norm normal_ normalization normalize
    normalized now np null_count nulls num_record_batches num_rows numba number numbers numel numpy object
    offset on onerror ones op open open_file ops optim optimizer options order orthogonal_ os other others out
    out_features outer output output_size outputs over owner p pa pack packed pad padded pairs pairwise
    param_groups parameter parameters parent parents parse_args part partial partition parts path paths peek
    pending perf_counter phase pi pid piece pin_memory place platform policy pool pop popleft position positions
    pow precision prefix preset print print_exc process processes processor prod product progress property put q
    quality quantile quantiles quantized r rand range rank ranks ratio ravel raw re read read_text reader record
    record_batch records recurse reduce_scatter_tensor reduction register_forward_hook register_forward_pre_hook
    register_hook relative_to remove removeprefix removesuffix repeat repeat_interleave replace repr require
    required requires_grad requires_grad_ reshape resolve rest restore restype result return_counts
    return_inverse reverse reversed right rms_norm roll rotate round rounding rows run running safe_open sample
    samples save savez scalars scale scaled_dot_product_attention scales scatter sched_getaffinity schema scope
    scratch script search searchsorted second seconds seed seek seen segments self send separators sequences
    serialize set set_deterministic_debug_mode set_device set_grad_enabled set_num_threads set_to_none
    setdefault setter settings sha256 shape shared shift short side sigmoid sin sink size sizes sleep slice
    slope slots socket softmax solve_triangular sort sort_keys sorted span split splitlines sqrt square src
    st_mode st_size stable stack stage start starts startswith stat state state_dict states staticmethod stats
    std stderr stdout step steps stop str stream strerror strict stride string strip struct submit suffix sum
    summary super symlink_to sync synchronize sys t table tables tail take tanh target targets tempfile tensor
    tensors text thread_name_prefix threading threads tile time timedelta timeout timeout_s to to_bytes to_numpy
    to_pandas_dtype to_pylist tobytes token tokens tolist top torch torch_version total trace traceback train
    training transpose tril tuple type types uint16 uint32 uint64 uint8 unbind uniform_ unique unit unknown
    unlink unpack unpack_from unsqueeze unused_data update upper use_deterministic_algorithms used users utils
    uuid uuids v val validate value values vars version view view_as visible vocab_size wait walk weight
    weight_decay weights what where who width window windows with_metadata with_name work world_size write
    write_batch write_bytes write_checksum write_content_size write_table write_text writer x y z zero_
    zero_copy_only zero_grad zeros zeros_like zip
    """.split()
)
