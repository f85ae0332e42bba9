"""Names of ours that a library has too: as attributes they keep their spelling in a script.

Written by `python -m bench.bundle_reserved`, so that a plan, which needs the list, loads no library; a
test holds that it is complete.
"""

_NAMES = """
AVG AbstractContextManager AdamW Annotated Any ArgumentParser Array ArrayLike ArrowException BadZipFile Block
BufferedReader BytesIO CDLL CHECK_NONE Callable ClassVar Codec Compressor Counter DOTALL DataType Decompressor
DistBackendError EFBIG EINVAL EISDIR ENOENT Event FILTER_LZMA2 FORMAT_RAW FORMAT_XZ Field Future Generator H
IGNORECASE Int64Array IpcReadOptions Iterable Iterator LZMACompressor LZMADecompressor LZMAError Literal MAX MIN
MULTILINE Mapping MappingProxyType Match Module ModuleList NDArray NamedTuple Namespace NoReturn OSFile O_CLOEXEC
O_NOFOLLOW O_NONBLOCK O_RDONLY O_RDWR Optimizer OrderedDict PCG64 PRESET_EXTREME Parameter ParameterList ParquetFile
Path Protocol PurePath Quantized ReduceOp S SGD S_IFBLK S_IFCHR S_IFDIR S_IFIFO S_IFLNK S_IFMT S_IFSOCK S_ISDIR
S_ISREG SafetensorError Schema Self SentencePieceProcessor Sequence SimpleNamespace Size Stream Struct Structure T
TYPE_CHECKING Table Tag TemporaryDirectory Tensor Text Thread ThreadPoolExecutor TracebackType TypeVar U Use VERSION
ZstdCompressor ZstdDecompressor ZstdError _ _Environ _Work _check _count _evaluate _exit _fields _foreach_add_
_foreach_copy_ _foreach_mul_ _fused_adamw_ _indices _line _module _next _parts _rank
_scaled_dot_product_flash_attention _size _stream _walk abs absolute abspath abstractmethod accept accumulate add add_
add_argument addcmul_ advance all all_gather_into_tensor all_reduce alpha amax any append arange argmax argmin args
argsort arguments array array_equal asarray ascontiguousarray asdict astuple astype at attn_mask average backend
backends backward baddbmm base beta bfloat16 bias bincount bit_length bits bitwise_xor block blocks body bool bool_
bos_id broadcast broadcast_object_list buffer byref byte bytes c c_char_p c_int c_uint c_ulonglong c_void_p cache
cached_property call cancel cast cat chain check choice choices cholesky_ex chunk chunks clamp clamp_ clamp_min clear
clip clone close closing code column column_names columns compare compile compress compression compressobj concatenate
config constant content_size contextmanager contexts contiguous copy copy_ cos count cpu create_string_buffer
cross_entropy ctypes cuda cudnn cumsum daemon data dataclass decode decompress deepcopy default default_factory
dequantize deque descending destroy_process_group detach deterministic device device_count device_type devices
diagonal diff difference digest digits dim dist div_ divide divmod done double dtype dtypes dumps einsum element_size
elements embedding empty empty_like enable_cudnn_sdp enable_flash_sdp enable_gqa enable_math_sdp
enable_mem_efficient_sdp encode end endswith enumerate environ environb eof eps eq equal equals errno error errors
errstate eval exception exists exp exp2 expand expm1 extend extra eye factor fdopen field fields file filename fileno
files fill fill_ filters findall finish finished first flags flat flatnonzero flatten flip float float16 float32
float64 floating floor flush format forward free from_bytes from_iterable from_numpy frombuffer fromfile fromkeys
frozen fsdecode fspath fstat fsync ftruncate full full_like fullmatch gamma gather gcd ge generic get get_args
get_batch get_device_name get_device_properties get_field_index get_frame_parameters get_num_threads get_piece_size
get_rank get_tensor get_world_size getattr gethostname getpid getvalue glob grad gradient gradients group groups gt
handle hex hexdigest home i id id_to_piece iinfo in_features included_fields indent index indices inf inference_mode
info init init_process_group inputs int int16 int32 int64 int8 integer integers intersection io is_absolute
is_available is_byte is_causal is_control is_cuda is_dir is_file is_finished is_flash_attention_available
is_floating_point is_initialized is_last is_nccl_available is_relative_to is_set is_torchelastic_launched is_unknown
is_unused isdecimal isdisjoint isfile isfinite isprintable issubdtype item items itemsize iter_unpack iterdir
itertools join k keepdim key keys kind kw_only last le leaky_relu length lerp level line linear lines link load
load_state_dict loads log log1p log2 log_softmax logaddexp logical_or long lru_cache lstat lstrip lt lzma mT machine
main major make manual_seed map masked_fill match materialize_grads math matmul matrix max max_memory_allocated
maximum maxlen mean memfd_create memmap memory_map merge metadata min minimum minor mkdir mmap mode module monotonic
most_common mul_ multinomial n name named_modules named_parameters names nargs narrow nbytes ndim negative
negative_slope new_empty new_file new_zeros newbyteorder next njit no_grad nonzero norm normal_ normalize now
null_count nulls num_record_batches num_rows numba number numel numpy offset ones op open open_file ops options order
orthogonal_ os out out_features outer output output_size outputs owner p pack pad pairwise parameters parent parents
parse_args partial partition parts path peek perf_counter permutation pi pin_memory place platform pool pop popleft
pow precision prefix print print_exc process processor prod product property put quantile quantized r rand random
range rank ravel raw re read read_bytes read_text record record_batch reduce_scatter_tensor reduction
register_forward_hook register_forward_pre_hook register_hook relative_to remove removeprefix removesuffix repeat
repeat_interleave replace repr require requires_grad requires_grad_ reshape resolve rest restype result reverse
rms_norm roll rotate round run running safe_open sample save savez scale scaled_dot_product_attention scatter
sched_getaffinity schema scope search searchsorted second seconds seed seek segments send serialize set
set_deterministic_debug_mode set_device set_grad_enabled set_num_threads setdefault setter sha256 shape short sigmoid
sin size sizes sleep slice socket softmax solve_triangular sort span split splitlines sqrt square st_mode st_size
stack start startswith stat state state_dict stats std stderr stdout step stop str stream strerror stride string strip
struct submit suffix sum suppress symlink_to sync synchronize sys t table tail take tanh tensor threading threads tile
time timedelta timeout to to_bytes to_numpy to_pandas_dtype to_pylist tobytes tolist torch total trace traceback train
training transpose tril type types uint16 uint32 uint64 uint8 unbind uniform_ unique unit unlink unpack unpack_from
unsqueeze unused_data update upper use_deterministic_algorithms used uses uuid validate value values version view
view_as vocab_size wait walk weight what where with_metadata with_name write write_batch write_bytes write_checksum
write_content_size write_table write_text z zero_ zero_grad zeros zeros_like
"""

RESERVED = frozenset(_NAMES.split())
