"""What is known of programs: which only read, which run others, and what of them cannot be brought back.

Tables only; `readers` and `shell` apply them. A flag in a table is met by itself, in a bundle of short ones (`-f` by
`-xfd`), with a value (`--output=f`) and, if long, cut short (`--outp`).
"""

from __future__ import annotations

import re

import msgspec

Flags = frozenset[str]


def flags(text: str) -> Flags:
    """Return the flags that `text` lists."""
    return frozenset(text.split())


NONE = flags("")

READERS: dict[str, Flags] = {
    **dict.fromkeys(
        flags("""
            ls cat head tail wc grep egrep fgrep pwd echo stat du df which type uname whoami id true false
            basename dirname realpath readlink cut tr nl tac rev comm cmp diff seq sleep md5sum sha1sum sha256sum cksum
            od hexdump strings column paste join fold expand unexpand nproc uptime ps free groups cd tsort jq uniq :
        """),
        NONE,
    ),
    # Bash evaluates the subscript in `-v 'a[$(rm -rf x)]'`.
    **dict.fromkeys(flags("test [ printf"), flags("-v -R")),
    "date": flags("-s --set"),
    "fd": flags("-x -X --exec --exec-batch"),
    "file": flags("-C --compile"),
    "find": flags("-delete -exec -execdir -ok -okdir -fprint -fprint0 -fprintf -fls"),
    "rg": flags("--pre --hostname-bin"),
    "sort": flags("-o --output --compress-program"),
    "tree": flags("-o -R"),
}
"""Programs that cannot change anything, but with these flags."""

VERSIONED = flags("bash cargo gcc clang cmake go git java make node npm pip pip3 python python3 ruby rustc uv")
"""Programs that only read with `--version` alone."""

SYSTEM_FOLDERS = flags("/bin /usr/bin /usr/local/bin /opt/homebrew/bin")
"""A reader that is named by its folder is one only here."""

_LINES = r"(?:(?:\d+|\$)(?:,(?:\+?\d+|\$))?)?[pq=]"
SED_PRINTS = re.compile(rf"(?:{_LINES}|/[\w .:#=-]*/p)(?:; ?{_LINES})*")
"""Scripts of `sed -n` that only print."""

GIT_READERS = flags("""
    status log diff show rev-parse describe blame ls-files ls-tree shortlog diff-tree rev-list merge-base name-rev
    for-each-ref count-objects cat-file grep
""")
GIT_NOT_READ = flags("--output --ext-diff --textconv --filters -O --open-files-in-pager")
"""Sub-commands of git that only read, but with these flags."""

GIT_LISTS: dict[str, Flags] = {
    "branch": flags("--list -l -a -r -v -vv --all --remotes --show-current --verbose"),
    "tag": flags("--list -l -n"),
    "remote": flags("-v --verbose"),
}
"""Sub-commands of git that only read while each further word is one of these."""

GIT_FIRST: dict[str, Flags] = {
    "stash": flags("list show"),
    "worktree": flags("list"),
    "config": flags("--list -l list --get --get-all --get-regexp get"),
    "reflog": flags("show"),
}
"""Sub-commands of git that only read where the next word is one of these."""

GIT_OWN_READ = flags("-C --no-pager -P --no-optional-locks")
"""Options of git itself that leave a reading sub-command one."""

GIT_VALUED = flags("-C -c --git-dir --work-tree --namespace --exec-path --config-env")
"""Options of git itself that take the next word."""

RESERVED = flags("if then else elif while until do ! { } fi done esac coproc")
"""Words of the shell's own after which a command may stand."""

NO_COMMAND = flags("for select case function")
"""Words of the shell's own after which a command stands only behind `OPENING`."""
OPENING = flags("do {")

WRAPPERS: dict[str, int] = {
    **dict.fromkeys(
        flags("""
            sudo doas env nice nohup time xargs command exec builtin stdbuf ionice setsid watch parallel busybox
            unbuffer script strace ltrace caffeinate runuser npx bunx
        """),
        0,
    ),
    **dict.fromkeys(flags("timeout flock taskset chrt uv poetry pipx pnpm direnv arch"), 1),
}
"""Programs that run another, named in their words; with the number of words of their own before it."""

FEEDERS = flags("xargs parallel")
"""Wrappers that add words to the command."""

CODE_WRAPPERS = flags("env watch parallel script flock su")
"""Wrappers that take shell code in one word too."""

EXEC_FLAGS = flags("-exec -execdir -ok -okdir -x -X --exec --exec-batch")
"""Flags of `find` and `fd` after which a command stands, to which they add words."""

SHELLS = flags("sh bash zsh dash ksh fish ash su")
INTERPRETERS = {**dict.fromkeys(flags("python python3"), "c"), **dict.fromkeys(flags("perl ruby node bun lua"), "e")}
"""Programs that run code of other languages, with the letter of the flag before it."""
FETCHERS = flags("curl wget http https fetch aria2c")

SQL_CLIENTS = flags("psql sqlite3 mysql mariadb duckdb clickhouse-client sqlcmd sqlplus cqlsh mongosh mongo redis-cli")
SQL_LOSES = re.compile(
    r"\b(?:drop\w*|truncate|delete\w*|remove|update|flushall|flushdb|alter|grant|revoke)\b", re.IGNORECASE
)
"""Words of statements that lose data, in SQL and its like."""

COPIERS = flags("cp ln install rsync")
"""Programs that write what their last word names."""

WRITERS = flags("tee mv")
"""Programs that write, or take away, what each of their words names."""

LEAVES_START_UP = flags("source . cd pushd ssh-add")
"""With the readers, what may be given a start-up or key file without changing it."""


class Rule(msgspec.Struct, frozen=True):
    """It fits where the words of `sub` begin a program's words, in this order, and one of `flags` (if any) is there."""

    reason: str
    sub: tuple[str, ...] = ()
    flags: Flags = NONE


def _rules(reason: str, *subs: str, flags: Flags = NONE) -> tuple[Rule, ...]:
    return tuple(Rule(reason, tuple(sub.split()), flags) for sub in subs)


def _always(reason: str) -> tuple[Rule, ...]:
    return (Rule(reason),)


_LOSES = "what it does cannot be brought back"
_OUTWARD = "it reaches other people, machines or accounts"
_RUNS = "it runs another program"
_SYSTEM = "it changes the system"

_DOCKER_KINDS = ("container", "image", "volume", "network")

CONFIRMED: dict[str, tuple[Rule, ...]] = {
    **dict.fromkeys(
        flags("shred srm mkfs wipefs fdisk sfdisk parted sgdisk dropdb dropuser truncate killall pkill skill"),
        _always(_LOSES),
    ),
    **dict.fromkeys(
        flags("""
            shutdown reboot halt poweroff passwd chpasswd useradd userdel usermod groupadd groupdel visudo chsh chattr
            setfacl insmod rmmod modprobe sysctl nvram csrutil spctl tccutil dscl at
        """),
        _always(_SYSTEM),
    ),
    **dict.fromkeys(
        flags("mail mailx mutt sendmail msmtp swaks ssh scp sftp ftp lftp nc ncat netcat socat telnet osascript"),
        _always(_OUTWARD),
    ),
    **dict.fromkeys(
        flags("npm yarn pnpm bun cargo poetry uv flit hatch pdm gem"),
        _rules(_OUTWARD, "publish", "unpublish", "deprecate", "owner", "access", "dist-tag", "login", "yank"),
    ),
    **dict.fromkeys(
        flags("docker podman nerdctl docker-compose"),
        (
            *_rules(_LOSES, "rm", "rmi", "kill", "system prune", "builder prune", "stack rm", "service rm"),
            *_rules(_LOSES, *(f"{kind} {what}" for kind in _DOCKER_KINDS for what in ("rm", "prune"))),
            *_rules(_LOSES, "compose rm", "compose kill"),
            *_rules(_LOSES, "down", "compose down", flags=flags("-v --volumes")),
            *_rules(_OUTWARD, "push", "login"),
        ),
    ),
    **dict.fromkeys(flags("chmod chown chgrp"), _rules(_LOSES, "", flags=flags("-R --recursive"))),
    "curl": (
        Rule(
            _OUTWARD,
            flags=flags("-d --data --data-raw --data-binary --data-urlencode --json -F --form -T --upload-file"),
        ),
    ),
    "defaults": _rules(_LOSES, "delete"),
    "diskutil": _rules(_LOSES, "eraseDisk", "eraseVolume", "partitionDisk", "reformat", "zeroDisk", "apfs"),
    "find": (Rule(_LOSES, flags=flags("-delete -fprint -fprint0 -fprintf -fls")),),
    "gradle": _rules(_OUTWARD, "publish"),
    "hg": _rules(_OUTWARD, "push") + _rules(_LOSES, "strip", "purge"),
    "history": (Rule(_LOSES, flags=flags("-c -d")),),
    "mvn": _rules(_OUTWARD, "deploy"),
    "rsync": (Rule(_LOSES, flags=flags("--delete --remove-source-files")),),
    "svn": _rules(_OUTWARD, "commit", "ci", "delete", "copy"),
    "twine": _rules(_OUTWARD, "upload", "register"),
    "wget": (Rule(_OUTWARD, flags=flags("--post-data --post-file --method --body-data --body-file")),),
}
"""What of these programs cannot be brought back, or reaches others."""

GIT_CONFIRMED: tuple[Rule, ...] = (
    *_rules(_OUTWARD, "push", "send-email", "svn dcommit"),
    *_rules(_LOSES, "reset", flags=flags("--hard --merge --keep")),
    *_rules(_LOSES, "clean", flags=flags("-f --force -x -X -i")),
    *_rules(_LOSES, "branch", flags=flags("-D -d --delete -M -f --force")),
    *_rules(_LOSES, "tag", flags=flags("-d --delete -f --force")),
    *_rules(_LOSES, "checkout", flags=flags("-- . -f --force -B")),
    *_rules(_LOSES, "switch", flags=flags("-f --force --discard-changes -C")),
    *_rules(_LOSES, "rm", flags=flags("-f --force")),
    *_rules(_LOSES, "worktree remove", flags=flags("-f --force")),
    *_rules(
        _LOSES, "stash drop", "stash clear", "filter-branch", "filter-repo", "prune", "reflog expire", "reflog delete"
    ),
    *_rules(_LOSES, "gc", flags=flags("--prune")),
    *_rules(_LOSES, "update-ref", flags=flags("-d")),
    *_rules(_RUNS, "rebase", flags=flags("-x --exec")),
    *_rules(_RUNS, "bisect run", "submodule foreach", "difftool", "mergetool"),
    *_rules(_RUNS, "grep", flags=flags("-O --open-files-in-pager")),
    Rule(_RUNS, flags=flags("--upload-pack --receive-pack")),
    *_rules("it changes the user's settings", "config", flags=flags("--global --system")),
)

GIT_RUNS = re.compile(
    r"pager|editor|command|fsmonitor|hookspath|alias|helper|textconv|askpass|driver|program|exec-path|config-env|\.cmd|^include",
    re.IGNORECASE,
)
"""Settings of git whose values are programs, or name files with more settings."""

ASKS_UNLESS: dict[str, Flags] = {
    **dict.fromkeys(
        flags("""
            aws gcloud az gsutil doctl fly flyctl heroku vercel netlify firebase wrangler oci hcloud stripe gh glab
            kubectl oc helm terraform tofu pulumi terragrunt cdk
        """),
        flags("""
            ls list view status show describe get diff checks checkout clone download search watch version help logs log
            tail info whoami api plan validate fmt init output top explain lint template config synth --help --version
        """),
    ),
    "crontab": flags("-l"),
    **dict.fromkeys(flags("iptables ip6tables"), flags("-L -S --list")),
    "launchctl": flags("list print blame"),
    "nft": flags("list"),
    "security": flags("find list show"),
    "service": flags("status --status-all"),
    "systemctl": flags("status show list is-active is-enabled cat"),
    "ufw": flags("status"),
}
"""Programs that reach accounts, machines or the system, but where one of their words begins with one of these."""

ASKS_STILL = flags("rm delete destroy terminate apply exec put create remove merge close")
"""Words that such a program is asked about all the same."""

ENVIRONMENT_RUNS = re.compile(
    r"LD_PRELOAD|DYLD_INSERT_LIBRARIES|BASH_ENV|GIT_SSH|GIT_SSH_COMMAND|GIT_EXTERNAL_DIFF|GIT_PROXY_COMMAND|"
    r"GIT_CONFIG\w*|(?:GIT_|SSH_)ASKPASS|(?:GIT_|MAN)?PAGER|(?:GIT_|GIT_SEQUENCE_)?EDITOR|VISUAL|PROMPT_COMMAND"
)
"""Variables whose values are run."""
HARMLESS_VALUES = frozenset({"", "cat", "true", ":", "less", "more"})

START_UP = re.compile(
    r"(?:^|/)(?:\.(?:ba|z|k|c|tc)sh(?:rc|_?profile|_?login|_?logout|env)|\.(?:profile|login|inputrc|gitconfig|envrc)|"
    r"\.(?:git-credentials|netrc|npmrc|pypirc|pgpass|my\.cnf)|\.(?:ssh|gnupg|aws|azure|kube)(?:/.*)?|"
    r"\.config/(?:autostart|systemd|fish|git|gcloud)(?:/.*)?|\.git/(?:hooks/.*|config)|authorized_keys)$",
    re.DOTALL,
)
"""Names of files that are run when something starts, or that hold keys, as they stand among the words of a command."""

SCRATCH = flags("/dev/null /dev/zero /dev/stdout /dev/stderr /dev/tty")
"""Devices to which writing does no harm."""
