//! The scripts for the remote `/bin/sh`, in POSIX sh without anything else. What they print for
//! this program starts with [`MARK`]; [`super::reply`] reads it.
//!
//! Each script is one compound command, which a shell reads whole before it runs it: what follows
//! on standard input is then for the programs in it. Some shells read standard input in blocks, so
//! nothing may follow before the script has printed that it is ready for it.

use super::shell_words::quote;

/// The version of what `push` and the `get` that it starts agree on: the options and the events.
pub(crate) const PROTOCOL: u8 = 1;

/// The start of every line that a script prints for this program.
pub(super) const MARK: &str = "sow-push ";

/// The functions that all scripts use.
///
/// `cache_folder` fails where the user has no home. `sum_of` prints the SHA-256 of a file, or
/// nothing where no program computes it.
const FUNCTIONS: &str = r#"
say() { printf 'sow-push %s\n' "$*"; }
one_line() { tr '\n' ' ' | cut -c 1-400; }
cache_folder() {
    case ${XDG_CACHE_HOME-} in
        /*) printf '%s\n' "$XDG_CACHE_HOME/sow" ;;
        *) [ -n "${HOME-}" ] && printf '%s\n' "$HOME/.cache/sow" ;;
    esac
}
sum_of() {
    if command -v sha256sum >/dev/null 2>&1; then sha256sum <"$1" | cut -c 1-64
    elif command -v shasum >/dev/null 2>&1; then shasum -a 256 <"$1" | cut -c 1-64
    elif command -v openssl >/dev/null 2>&1; then openssl dgst -sha256 -r <"$1" | cut -c 1-64
    fi
}
is_usable() { "$1" get --push-protocol "$protocol" --help </dev/null >/dev/null 2>&1; }
"#;

/// What a program is called in the cache folder.
pub(super) fn cached_name(sha256: &str) -> String {
    format!("sow-{}", &sha256[..16])
}

/// A script with its functions and variables.
fn script(variables: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{{\nprotocol={PROTOCOL}\n");
    for (name, value) in variables {
        text.push_str(&format!("{name}={}\n", quote(value)));
    }
    text.push_str(FUNCTIONS);
    text.push_str(body);
    text.push_str("}\n");
    text
}

/// Reports the system, the address of the client, the folder, and the `sow` that is there.
pub(super) fn probe(folder: Option<&str>, sha256: &str) -> String {
    let body = r#"
say begin
say "system $(uname -s) $(uname -m)"
say "client ${SSH_CONNECTION-}"
case $folder in
    "~") folder=$HOME/ ;;
    "~/"*) folder=$HOME/${folder#"~/"} ;;
    /*) ;;
    *) folder=./$folder ;;
esac
if cd "$folder" >/dev/null 2>&1 && [ -w . ]; then :
elif [ -d "$folder" ]; then say "no-folder it is not writable"
elif [ -e "$folder" ]; then say "no-folder it is not a folder"
else say "no-folder it does not exist"
fi
if sow=$(command -v sow) && is_usable "$sow"; then say "sow $sow"
else
    [ -z "$sow" ] || say "old $("$sow" --version </dev/null 2>&1 | one_line)"
    cached=$(cache_folder)/$name
    if [ -x "$cached" ] && [ "$(sum_of "$cached")" = "$sha256" ] && is_usable "$cached"
    then touch -c "$cached" 2>/dev/null; say "sow $cached"
    fi
fi
say end
"#;
    let name = cached_name(sha256);
    let folder = folder.unwrap_or_default();
    script(&[("folder", folder), ("name", &name), ("sha256", sha256)], body)
}

/// The first and the last part of both installations: a new file in the cache folder, and its way
/// to its name. Each fails after it has said why. They run in a shell of their own, so that the
/// content is written with the umask of the user.
const INSTALLATION: &str = r#"
new=
fail() { [ -z "$new" ] || rm -f "$new"; say "not-installed $*"; return 1; }
begin() {
    umask 077
    cache=$(cache_folder) || { fail "this user has no home folder"; return 1; }
    error=$(mkdir -p "$cache" 2>&1) || { fail "$(printf %s "$error" | one_line)"; return 1; }
    # Many machines may share a home folder.
    new=$cache/.$name.$(uname -n).$$
    error=$( { : >"$new"; } 2>&1 ) || { fail "$(printf %s "$error" | one_line)"; return 1; }
}
finish() {
    size=$(($(wc -c <"$new")))
    [ "$size" -eq "$length" ] || { fail "$size of $length bytes were received"; return 1; }
    sum=$(sum_of "$new")
    if [ -n "$sum$needs_sum" ] && [ "$sum" != "$sha256" ]
    then fail "the SHA-256 of what was received is wrong"; return 1
    fi
    error=$( { chmod 700 "$new" && mv -f "$new" "$cache/$name"; } 2>&1 ) ||
        { fail "$(printf %s "$error" | one_line)"; return 1; }
    new=$cache/$name
    is_usable "$new" ||
        { fail "it does not run there: $("$new" --version 2>&1 </dev/null | one_line)"; return 1; }
    find "$cache" -name 'sow-*' -type f -mtime +90 -exec rm -f {} + 2>/dev/null
    find "$cache" -name '.sow-*' -type f -mtime +1 -exec rm -f {} + 2>/dev/null
    say "sow $new"
}
"#;

/// Downloads the program from `url`, and puts it into the cache folder. Where no program computes
/// its SHA-256, it is not used. Proxies are for the internet, and this is not.
pub(super) fn install_from_url(url: &str, sha256: &str, length: u64) -> String {
    let body = r#"
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
receive() {
    if command -v curl >/dev/null 2>&1
    then curl -fsS --connect-timeout 5 --max-time 240 -o "$new" "$url"
    elif command -v wget >/dev/null 2>&1; then wget -q -t 1 -T 15 -O "$new" "$url"
    elif command -v python3 >/dev/null 2>&1
    then python3 -c 'import sys, urllib.request as u
open(sys.argv[2], "wb").write(u.urlopen(sys.argv[1], timeout=15).read())' "$url" "$new"
    else echo "neither curl nor wget nor python3 is there"; return 1
    fi </dev/null 2>&1
}
(
    if begin
    then
        if error=$(receive); then finish; else fail "$(printf %s "$error" | one_line)"; fi
    fi
)
"#;
    installation(&[("url", url), ("needs_sum", "yes")], sha256, length, body)
}

/// Asks for the program on standard input, and puts it into the cache folder. `ssh` protects it on
/// its way; its SHA-256 is checked where a program computes it.
pub(super) fn install_from_stdin(sha256: &str, length: u64) -> String {
    // After a failure the rest of the program must not be read as a script.
    let body = r#"
(
    begin || exit 1
    say ready
    error=$( { head -c "$length" >"$new"; } 2>&1 ) ||
        { fail "$(printf %s "$error" | one_line)"; exit 1; }
    finish
) || exit 1
"#;
    installation(&[("needs_sum", "")], sha256, length, body)
}

fn installation(variables: &[(&str, &str)], sha256: &str, length: u64, body: &str) -> String {
    let (name, length) = (cached_name(sha256), length.to_string());
    let mut all = vec![("name", &*name), ("sha256", sha256), ("length", &*length)];
    all.extend(variables);
    script(&all, &format!("{INSTALLATION}{body}"))
}

/// Runs `program get` with these arguments in the folder that the probe entered, and reports its
/// exit code.
pub(super) fn get(program: &str, arguments: &[String]) -> String {
    let words: Vec<String> = arguments.iter().map(|argument| quote(argument)).collect();
    let body = format!("\"$program\" get {}\nsay \"exit $?\"\nexit 0\n", words.join(" "));
    script(&[("program", program)], &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_scripts_is_for_any_shell_of_posix() {
        let sha256 = "0123456789abcdef".repeat(4);
        let scripts = [
            probe(Some("~/it's"), &sha256),
            install_from_url("http://[fd00::1]:1/x", &sha256, 5),
            install_from_stdin(&sha256, 5),
            get("/a b/sow", &["-q".into(), "it's".into()]),
        ];
        for script in scripts {
            let mut shell = std::process::Command::new("sh");
            let checked = shell.args(["-n", "-c", &script]).output().unwrap();
            assert!(
                checked.status.success(),
                "{}\n{script}",
                String::from_utf8_lossy(&checked.stderr)
            );
            for word in ["[[", "local ", "function ", "<(", "&>", "$'"] {
                assert!(!script.contains(word), "`{word}` is not POSIX:\n{script}");
            }
        }
    }
}
