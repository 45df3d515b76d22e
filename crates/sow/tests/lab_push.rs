//! `sow push` over real servers of `ssh`, each on a host of its own with its own configuration,
//! key, users and shell. Root only.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use support::{
    noise_file,
    process::{Process, require},
    sow_path,
    test_network::TestNetwork,
    wait_until,
};

/// The size of the file, and the rate at which the origin sends: the transfer takes some seconds,
/// in which one host can be killed.
const SIZE: usize = 24 << 20;
const UP_LIMIT: &str = "6MB/s";

/// Starts the server of a host: its own `/etc/passwd` gives root another home and shell.
const START: &str = r#"
set -e
mkdir -p /run/sshd "$1/home/srv"
mount --bind "$1/passwd" /etc/passwd
[ -z "$2" ] || mount -t tmpfs -o "size=$2" tmpfs "$1/home/srv"
exec /usr/sbin/sshd -D -e -f "$1/sshd_config"
"#;

/// Kills `sow` on a host, once it runs.
const KILL: &str = r#"
for id in $(ip netns pids "$1"); do
    if [ "$(cat "/proc/$id/comm")" = sow ]; then kill -KILL "$id"; fi
done
"#;

/// What is special about a host.
#[derive(Clone, Copy)]
struct Host {
    shell: &'static str,
    path: Tools,
    /// The size of the file system that the file goes to.
    disk: &'static str,
    accepts_key: bool,
    is_known: bool,
    has_server: bool,
}

/// Which programs the shell finds.
#[derive(Clone, Copy)]
enum Tools {
    /// All, and `sow`.
    Sow,
    /// All others.
    System,
    /// What any system has: none that downloads.
    Few,
}

const USUAL: Host = Host {
    shell: "/bin/bash",
    path: Tools::Sow,
    disk: "",
    accepts_key: true,
    is_known: true,
    has_server: true,
};

/// The network: the origin is host 1, `web01` is host 2, and so on.
struct Fleet {
    network: TestNetwork,
    folder: tempfile::TempDir,
    servers: Vec<Process>,
    program: PathBuf,
}

fn run(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).output().expect("the program starts");
    assert!(done.status.success(), "{program} {args:?}: {done:?}");
}

impl Fleet {
    fn new(hosts: &[Host]) -> Self {
        for (program, package) in
            [("sshd", "openssh-server"), ("fish", "fish"), ("csh", "csh"), ("busybox", "busybox")]
        {
            let found = Path::new("/usr/sbin").join(program).is_file();
            if !found {
                require(program, package);
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("it is ours");
        fs::create_dir(root.join("bin")).expect("a folder");
        // As it is released: symbols are ten times as large as the program.
        let program = root.join("bin/sow");
        let text = |path: &Path| path.to_str().expect("the path is UTF-8").to_owned();
        run("strip", &["-o", &text(&program), &text(sow_path())]);
        few_tools(&root.join("few"));
        symlink("/usr/bin/busybox", root.join("ash")).expect("a link");
        keygen(&root.join("key"));
        let network = TestNetwork::new(u8::try_from(hosts.len() + 1).expect("few hosts"));
        let mut fleet = Self { network, folder, servers: Vec::new(), program };
        let mut config = format!(
            "Host *\n IdentityFile {0}/key\n UserKnownHostsFile {0}/known_hosts\n User root\n",
            root_of(&fleet)
        );
        let mut known = String::new();
        for (index, host) in hosts.iter().enumerate() {
            let number = u8::try_from(index + 2).expect("few hosts");
            let address = fleet.network.address(number);
            config.push_str(&format!("Host web{:02}\n HostName {address}\n", index + 1));
            let key = fleet.prepare(number, host);
            if host.is_known {
                known.push_str(&format!("{address} {key}"));
            }
        }
        // An address at which there is no host.
        config.push_str("Host nowhere\n HostName 10.66.0.250\n");
        fs::write(fleet.path("config"), config).expect("it can be written");
        fs::write(fleet.path("known_hosts"), known).expect("it can be written");
        fleet
    }

    /// Writes the files of a host and starts its server. Returns its public key.
    fn prepare(&mut self, number: u8, host: &Host) -> String {
        let folder = self.path(&format!("h{number}"));
        fs::create_dir_all(folder.join("home")).expect("a folder");
        keygen(&folder.join("host_key"));
        let (root, own) = (root_of(self), folder.display().to_string());
        let shell = host.shell.replace("ROOT", &root);
        let passwd = format!(
            "root:x:0:0:root:{own}/home:{shell}\n\
             sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
        );
        fs::write(folder.join("passwd"), passwd).expect("it can be written");
        let keys = if host.accepts_key { format!("{root}/key.pub") } else { "none".to_owned() };
        let path = match host.path {
            Tools::Sow => format!("{root}/bin:/usr/bin:/bin"),
            Tools::System => "/usr/bin:/bin".to_owned(),
            Tools::Few => format!("{root}/few"),
        };
        let config = format!(
            "HostKey {own}/host_key\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nAuthorizedKeysFile {keys}\nSetEnv PATH={path}\n"
        );
        fs::write(folder.join("sshd_config"), config).expect("it can be written");
        if host.has_server {
            let start = ["sh", "-c", START, "sh", &own, host.disk];
            self.servers.push(self.network.start(number, "sshd", &start));
            let server = self.servers.last_mut().expect("it was just added");
            server.wait_line(&["Server listening on 0.0.0.0"]);
        }
        fs::read_to_string(folder.join("host_key.pub")).expect("the key is there")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file on a host.
    fn copy(&self, number: u8) -> Option<Vec<u8>> {
        fs::read(self.path(&format!("h{number}/home/srv/big.bin"))).ok()
    }

    /// Checks that `sow`, and nothing else, was put onto a host.
    fn assert_installed(&self, number: u8) {
        let cache = self.path(&format!("h{number}/home/.cache/sow"));
        let kept: Vec<_> = fs::read_dir(cache).expect("the cache").flatten().collect();
        let mode = kept[0].metadata().expect("it is there").permissions().mode() & 0o777;
        assert_eq!((kept.len(), mode), (1, 0o700), "{kept:?}");
    }

    /// Starts `sow push` of the file.
    fn push(&self, args: &[&str]) -> Process {
        let ssh = format!("ssh -F '{}'", self.path("config").display());
        let (program, file) = (self.program.display().to_string(), self.path("big.bin"));
        let file = file.display().to_string();
        let mut command = vec![program.as_str(), "push", &file, "--ssh", &ssh];
        command.extend(["-o", "srv"]);
        command.extend(args);
        self.network.start(1, "sow push", &command)
    }

    /// The rows of a file of results, by the host.
    fn results(&self, name: &str) -> BTreeMap<String, Value> {
        let text = fs::read(self.path(name)).expect("there are results");
        let rows: Vec<Value> = serde_json::from_slice(&text).expect("they are JSON");
        rows.into_iter()
            .map(|row| (row["host"].as_str().unwrap_or_default().to_owned(), row))
            .collect()
    }
}

fn root_of(fleet: &Fleet) -> String {
    fleet.folder.path().display().to_string()
}

fn keygen(path: &Path) {
    let path = path.display().to_string();
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &path]);
}

/// A folder with links to a few programs.
fn few_tools(folder: &Path) {
    fs::create_dir(folder).expect("a folder");
    let tools = "uname tr cut mkdir wc head chmod mv rm touch find sha256sum cat";
    for tool in tools.split(' ') {
        let path = ["/usr/bin", "/bin"].map(|bin| Path::new(bin).join(tool));
        let path = path.iter().find(|path| path.exists()).expect("any system has it");
        symlink(path, folder.join(tool)).expect("a link");
    }
}

#[test]
fn every_row_is_right_when_twenty_hosts_are_pushed_to() {
    let mut hosts = [USUAL; 19];
    hosts[1].shell = "/usr/bin/fish";
    hosts[2].shell = "/bin/csh";
    hosts[3].shell = "ROOT/ash";
    hosts[4].path = Tools::System;
    hosts[5].path = Tools::Few;
    hosts[6].disk = "8m";
    hosts[8].accepts_key = false;
    hosts[9].is_known = false;
    hosts[10].has_server = false;
    let fleet = Fleet::new(&hosts);
    let content = fs::read(noise_file(fleet.folder.path(), "big.bin", SIZE)).expect("the file");
    let (results, failed) = (fleet.path("results.json"), fleet.path("failed.txt"));
    let (results, failed) = (results.display().to_string(), failed.display().to_string());
    // Fewer places than hosts: complete ones make room.
    let files = ["--results", &results, "--retry", &failed, "--jobs", "4"];
    let hosts = ["web[01-19]", "nowhere", "--json", "--up-limit", UP_LIMIT];
    let mut push = fleet.push(&[&files[..], &hosts].concat());
    // web08 is host 9.
    let part = || fs::metadata(fleet.path("h9/home/srv/big.bin.sow-part"));
    wait_until("half of the file on web08", || {
        part()
            .is_ok_and(|part| std::os::unix::fs::MetadataExt::blocks(&part) * 512 > SIZE as u64 / 2)
    });
    fleet.network.run(&["sh", "-c", KILL, "sh", "h9"]);
    assert_eq!(push.wait_exit().code(), Some(7));

    let rows = fleet.results("results.json");
    assert_eq!(rows.len(), 20, "{rows:#?}");
    let due = BTreeMap::from([
        ("web07", "no space"),
        ("web08", "killed"),
        ("web09", "it refuses the key"),
        ("web10", "its host key is unknown"),
        ("web11", "it refuses the connection"),
        ("nowhere", "no route to it"),
    ]);
    for (host, row) in &rows {
        match due.get(host.as_str()) {
            Some(reason) => {
                assert_eq!(row["state"], "failed", "{row}");
                let error = row["error"].as_str().unwrap_or_default().to_lowercase();
                assert!(error.contains(reason) && !error.contains('\n'), "{row}");
            }
            None => {
                assert_eq!((&row["state"], &row["error"]), (&"complete".into(), &Value::Null));
                assert_eq!(row["bytes"], SIZE, "{row}");
            }
        }
    }
    for number in 2..=20 {
        let is_due = rows[&format!("web{:02}", number - 1)]["state"] == "complete";
        assert_eq!(fleet.copy(number).is_some_and(|copy| copy == content), is_due, "h{number}");
    }
    [6, 7].into_iter().for_each(|number| fleet.assert_installed(number));
    let listed = fs::read_to_string(&failed).expect("the hosts for the next run");
    let listed: Vec<&str> = listed.lines().collect();
    assert_eq!(listed, ["web07", "web08", "web09", "web10", "web11", "nowhere"]);

    fs::write(&failed, "web08\nweb01\nweb06\n").expect("it can be written");
    assert_retried(&fleet, &failed, &results);
}

/// The next run is for those that the file names: all three are complete then.
fn assert_retried(fleet: &Fleet, failed: &str, results: &str) {
    fleet.push(&["--retry", failed, "--results", results]).wait_success();
    let rows = fleet.results("results.json");
    assert_eq!(rows.len(), 3);
    assert!(rows.values().all(|row| row["state"] == "complete"), "{rows:#?}");
    assert_eq!(fs::read_to_string(failed).expect("the hosts for the next run"), "");
}

#[test]
fn an_interrupted_push_ends_what_runs_on_the_hosts() {
    let mut hosts = [USUAL; 3];
    hosts[1].shell = "/bin/csh";
    hosts[2].path = Tools::System;
    let fleet = Fleet::new(&hosts);
    noise_file(fleet.folder.path(), "big.bin", SIZE);
    let mut push =
        fleet.push(&["web[01-03]", "--json", "--install", "never", "--up-limit", "1MB/s"]);
    let part = |number: u8| fleet.path(&format!("h{number}/home/srv/big.bin.sow-part"));
    wait_until("two downloads", || part(2).exists() && part(3).exists());
    let error = push.wait_event("receiver");
    assert!(!error.is_null());
    push.interrupt();
    assert_eq!(push.wait_exit().code(), Some(7));
    let lines = push.lines().join("\n");
    assert!(lines.contains("sow is not installed there"), "{lines}");
    let count = "for host in h2 h3; do ip netns pids $host; done | \
                 while read -r id; do cat /proc/$id/comm; done | grep -c '^sow$' | grep -qx 0";
    fleet.network.run(&["sh", "-c", count]);
}
