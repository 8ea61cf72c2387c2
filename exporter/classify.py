"""What kind of work a process does, told from its argument vector.

The vector is reduced to a `Command`: wrappers (env, nice, nohup, time …) are peeled off, of an interpreter's line the
script or module remains. Patterns then match whole names or whole *words* of names, never substrings:
`initialize_db.py` is made of "initialize" and "db" and is no `init`. Patterns are data; the first that matches decides.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class ProcessClass(StrEnum):
    """Classes of work."""

    TRAINING = "training"
    INFERENCE = "inference"
    DATA_PROCESSING = "data_processing"
    COMPUTE = "compute"
    IO = "io"
    BATCH = "batch"
    INTERACTIVE = "interactive"
    DAEMON = "daemon"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Matches a command whose program, script or module is one of `names`, or has one of `words` in its name.

    All in lower case; words are what remains between punctuation, digits and changes of case.
    """

    kind: ProcessClass
    names: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Command:
    """What is run: base name of the program; for interpreters and shells, the script's or the dotted `module`.

    `inline`: the program stands on the interpreter's command line, or comes from standard input.
    """

    program: str
    script: str | None = None
    module: str | None = None
    interpreter: bool = False
    inline: bool = False


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A program that runs the rest of its arguments.

    `valued`: options that take the next argument; `positionals`: arguments before the command; `subcommand`: the
    word without which it is no wrapper.
    """

    valued: frozenset[str] = frozenset()
    positionals: int = 0
    subcommand: str | None = None


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A language interpreter: options that take a value, that name a module, that hold the program itself."""

    valued: frozenset[str] = frozenset()
    module: frozenset[str] = frozenset()
    inline: frozenset[str] = frozenset()
    is_shell: bool = False


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


WRAPPERS: Mapping[str, Wrapper] = {
    "env": Wrapper(_set("-u --unset -C --chdir")),
    "nice": Wrapper(_set("-n --adjustment")),
    "ionice": Wrapper(_set("-c --class -n --classdata")),
    "nohup": Wrapper(),
    "setsid": Wrapper(),
    "time": Wrapper(_set("-f --format -o --output")),
    "timeout": Wrapper(_set("-s --signal -k --kill-after"), positionals=1),
    "stdbuf": Wrapper(_set("-i --input -o --output -e --error")),
    "taskset": Wrapper(positionals=1),
    "chrt": Wrapper(_set("-T -P -D"), positionals=1),
    "numactl": Wrapper(_set("-N -m -C -i -p")),
    "sudo": Wrapper(_set("-u --user -g --group -h --host -p --prompt -C -D -R -T -U")),
    "unbuffer": Wrapper(),
    "uv": Wrapper(_set("--with --python -p --directory --project --extra --env-file"), subcommand="run"),
    "poetry": Wrapper(_set("-C --directory"), subcommand="run"),
    "conda": Wrapper(_set("-n --name -p --prefix --cwd"), subcommand="run"),
    "mamba": Wrapper(_set("-n --name -p --prefix --cwd"), subcommand="run"),
}
"""Sources: man pages (coreutils, util-linux, sudo, numactl), command references of uv, poetry and conda."""

_SHELL = Interpreter(_set("-o -O --rcfile --init-file"), inline=_set("-c"), is_shell=True)
INTERPRETERS: Mapping[str, Interpreter] = {
    "python": Interpreter(_set("-W -X --check-hash-based-pycs"), _set("-m"), _set("-c")),
    "pypy": Interpreter(_set("-W -X"), _set("-m"), _set("-c")),
    "java": Interpreter(_set("-cp -classpath --class-path -p --module-path --add-modules"), _set("-m --module")),
    "perl": Interpreter(inline=_set("-e -E")),
    "ruby": Interpreter(_set("-I -r -C"), inline=_set("-e")),
    "node": Interpreter(_set("-r --require --import --loader -C"), inline=_set("-e --eval -p --print")),
    "julia": Interpreter(_set("-J -C -t -p -L --project --threads"), inline=_set("-e -E --eval")),
    "rscript": Interpreter(inline=_set("-e")),
    "php": Interpreter(_set("-c -d"), inline=_set("-r")),
    "lua": Interpreter(_set("-l"), inline=_set("-e")),
    **dict.fromkeys(("sh", "bash", "dash", "zsh", "ksh", "fish", "tcsh", "csh"), _SHELL),
}
"""Keyed by the name without version: python3.11 is python."""

DEFAULT_PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        ProcessClass.INTERACTIVE,
        _set(
            "vi vim nvim view emacs nano pico joe mc less more most man top htop btop atop iotop nvtop watch tmux "
            "screen zellij ipython bpython jupyter jupyter-lab jupyter-notebook code-server gdb lldb pdb psql "
            "sqlite3 mysql"
        ),
    ),
    Pattern(
        ProcessClass.DAEMON,
        _set(
            "init systemd sshd cron crond atd dbus-daemon dbus-broker rsyslogd syslog-ng chronyd ntpd polkitd udevd "
            "nginx apache2 httpd haproxy postgres postmaster mysqld mariadbd redis-server memcached mongod named "
            "dnsmasq dockerd containerd containerd-shim podman kubelet slurmd slurmctld slurmdbd munged sge_execd "
            "sge_qmaster pbs_mom pbs_server condor_master condor_startd condor_schedd lim mbatchd sbatchd raylet "
            "gcs_server prometheus alertmanager node_exporter process-exporter grid-exporter grid-offloader grafana "
            "grafana-server grafana-agent exporter offloader nfsd rpcbind rpc.statd autofs automount sssd nscd nslcd "
            "cupsd smbd nmbd winbindd autossh supervisord tailscaled snapd agetty login gpg-agent ssh-agent "
            "nvidia-persistenced"
        ),
    ),
    Pattern(
        ProcessClass.TRAINING,
        _set("torchrun accelerate deepspeed torch.distributed.run torch.distributed.launch horovodrun"),
        _set("train training trainer pretrain pretraining finetune finetuning sft rlhf dpo"),
    ),
    Pattern(
        ProcessClass.INFERENCE,
        _set("vllm tritonserver ollama llama-server llama-cli text-generation-server text-generation-launcher sglang"),
        _set("infer inference predict prediction predictions predictor generate generation vllm sglang"),
    ),
    Pattern(
        ProcessClass.IO,
        _set(
            "rsync cp mv dd tar bsdtar cpio scp sftp sftp-server rclone wget curl aria2c gzip pigz gunzip bzip2 "
            "pbzip2 xz pixz zstd pzstd lz4 zip unzip 7z 7za fio bonnie++ find du restic borg globus bbcp mbuffer pv "
            "cat"
        ),
        _set("download downloads downloader upload uploader backup copy rsync"),
    ),
    Pattern(
        ProcessClass.DATA_PROCESSING,
        _set(
            "spark-submit dask-worker dask-scheduler sort uniq awk gawk mawk sed grep jq samtools bcftools bedtools "
            "bwa ffmpeg convert magick gdal_translate gdalwarp duckdb"
        ),
        _set(
            "preprocess preprocessing preprocessor postprocess etl ingest ingestion transform tokenize tokenizer "
            "dataset datasets dataprep featurize augment pipeline clean cleaning aggregate parse convert index"
        ),
    ),
    Pattern(
        ProcessClass.COMPUTE,
        _set(
            "stress stress-ng gmx gmx_mpi lmp lammps namd2 namd3 vasp_std vasp_gam pw.x cp2k orca gaussian g16 "
            "abaqus ansys matlab octave mathematica wolframkernel maple sage r blastn blastp hmmsearch xhpl cc1 "
            "cc1plus gcc g++ clang ld lld rustc ghc go cargo ninja nvcc"
        ),
        _set(
            "simulate simulation simulator sim solve solver optimize optimise optimizer montecarlo mcmc benchmark "
            "bench compute sweep hpo search fit fem cfd"
        ),
    ),
    Pattern(
        ProcessClass.BATCH,
        _set("make snakemake nextflow luigi airflow xargs parallel batch at dagman cromwell"),
        _set("batch job jobs nightly cron report worker"),
    ),
    Pattern(ProcessClass.DAEMON, words=_set("daemon server exporter dashboard monitor agent")),
)
"""First match decides, so what must not be taken for work (editors, services) comes first, vague words last."""

_VERSION = re.compile(r"[-.]?\d+(\.\d+)*[a-z]?$")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_EXTENSION = re.compile(r"\.(py|pyc|sh|bash|pl|rb|r|R|jl|js|mjs|jar|php|lua|m)$")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_DEEPEST_WRAPPING = 8
_ARGUMENTS, _ARGUMENT_LENGTH, _NAME_LENGTH = 256, 4096, 255
"""What is looked at: anybody may give his process megabytes of arguments, or a name that takes minutes to match."""


def classify(
    argv: Sequence[bytes | str], *, comm: str = "", patterns: Sequence[Pattern] = DEFAULT_PATTERNS
) -> ProcessClass:
    """The class of a process. `comm` stands in where argv is empty; callers put their own patterns before ours."""
    command = command_of(argv) if argv else Command(_program_name(comm))
    names = _names(command)
    words = frozenset(word for name in names for word in _words(name))
    lowered = frozenset(name.lower() for name in names)
    for pattern in patterns:
        if pattern.names & lowered or pattern.words & words:
            return pattern.kind
    return _by_form(command)


def head_of(argv: Sequence[bytes]) -> tuple[bytes, ...]:
    """As much of an argument vector as tells what runs."""
    return tuple(part[:_ARGUMENT_LENGTH] for part in argv[:_ARGUMENTS])


def command_of(argv: Sequence[bytes | str]) -> Command:
    """Peel off wrappers, look through interpreters; of the head of the vector."""
    parts = (part[:_ARGUMENT_LENGTH] for part in argv[:_ARGUMENTS])
    arguments = [part.decode("utf-8", "replace") if isinstance(part, bytes) else part for part in parts]
    for _ in range(_DEEPEST_WRAPPING):
        rest = _unwrapped(arguments)
        if rest is None:
            break
        arguments = rest
    program = _program_name(arguments[0]) if arguments else ""
    interpreter = INTERPRETERS.get(_unversioned(program))
    if interpreter is None:
        return Command(program)
    return _interpreted(program, interpreter, arguments[1:])


def _unwrapped(arguments: list[str]) -> list[str] | None:
    """The wrapped command; None when this is no wrapper or wraps nothing."""
    if not arguments:
        return None
    wrapper = WRAPPERS.get(_program_name(arguments[0]))
    if wrapper is None:
        return None
    rest = arguments[1:]
    if wrapper.subcommand is not None:
        if wrapper.subcommand not in rest:
            return None
        rest = rest[rest.index(wrapper.subcommand) + 1 :]
    rest = _after_options(rest, wrapper.valued)
    while rest and _ASSIGNMENT.match(rest[0]):
        rest = rest[1:]
    return rest[wrapper.positionals :] or None


def _after_options(arguments: list[str], valued: frozenset[str]) -> list[str]:
    at = 0
    while at < len(arguments) and arguments[at].startswith("-") and arguments[at] != "-":
        if arguments[at] == "--":
            return arguments[at + 1 :]
        at += 2 if arguments[at] in valued else 1
    return arguments[at:]


def _interpreted(program: str, interpreter: Interpreter, arguments: list[str]) -> Command:
    at = 0
    while at < len(arguments):
        option = arguments[at]
        if option == "--":
            at += 1
            break
        if not option.startswith("-") or option == "-":
            break
        short = "-" + option[-1] if not option.startswith("--") else option  # -um is -u -m
        if option in interpreter.inline or (len(option) > 1 and short in interpreter.inline):
            return Command(program, interpreter=True, inline=True)
        if option in interpreter.module or short in interpreter.module:
            module = arguments[at + 1] if at + 1 < len(arguments) else None
            return Command(program, module=module, interpreter=True)
        at += 2 if option in interpreter.valued else 1
    rest = arguments[at:]
    if not rest or rest[0] == "-":
        return Command(program, interpreter=True, inline=bool(rest))
    return Command(program, rest[0].rpartition("/")[2][:_NAME_LENGTH], interpreter=True)


def _program_name(text: str) -> str:
    """Base name; a login shell's leading dash and a rewritten title's rest ("sshd: alice@pts/1") fall away."""
    title = re.match(r"([\w.-]+):( |$)", text)
    name = title[1] if title else text.rpartition("/")[2]
    return name.removeprefix("-")[:_NAME_LENGTH]


def _names(command: Command) -> tuple[str, ...]:
    """The names that tell. An interpreter's own says nothing; `init.py` is not `init`; `-m vllm.server` is `vllm`."""
    if not command.interpreter:
        return (command.program,)
    if command.module is not None:
        return command.module, command.module.partition(".")[0]
    return () if command.script is None else (command.script,)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(_EXTENSION.sub("", name))]


def _unversioned(program: str) -> str:
    return _VERSION.sub("", program).lower()


def _by_form(command: Command) -> ProcessClass:
    """What the form alone tells: a shell or interpreter without a script is for people, a shell script is batch."""
    if not command.interpreter or command.inline:
        return ProcessClass.UNKNOWN
    if command.script is None and command.module is None:
        return ProcessClass.INTERACTIVE
    return ProcessClass.BATCH if INTERPRETERS[_unversioned(command.program)].is_shell else ProcessClass.UNKNOWN
