//! The protocols `raw` and `framed`: `sow` in one role, a reference program in the other.

use std::path::Path;

use crate::{
    reference,
    shared_file::{MIB, SharedFile},
    sow,
    support::{process::Process, test_network::TestNetwork},
};

const SERVER: u8 = 1;
const CLIENT: u8 = 2;
/// One byte, the bytes of one send call of the original programs, one more, and a whole file.
const SIZES: [usize; 4] = [1, 1024, 1025, 10 * MIB];

/// Starts a server.
type Serve = fn(&TestNetwork, &SharedFile) -> Process;
/// Starts a client of the server, which saves to the path.
type Fetch = fn(&TestNetwork, &Path) -> Process;

fn transfer(sizes: &[usize], serve: Serve, fetch: Fetch) {
    let network = TestNetwork::new(2);
    for size in sizes {
        let shared = SharedFile::file(*size);
        let _server = serve(&network, &shared);
        let out = shared.out("copy");
        fetch(&network, &out).wait_success();
        shared.assert_copied_to(&out);
    }
}

fn sow_raw_server(network: &TestNetwork, shared: &SharedFile) -> Process {
    sow::serve(network, SERVER, &format!("raw server -f {}", shared.path.display()))
}

fn reference_raw_server(network: &TestNetwork, shared: &SharedFile) -> Process {
    reference::serve(network, SERVER, &format!("raw server -f {}", shared.path.display()))
}

fn sow_raw_client(network: &TestNetwork, out: &Path) -> Process {
    sow::fetch(network, CLIENT, &format!("raw client -s {}", network.address(SERVER)), out)
}

fn reference_raw_client(network: &TestNetwork, out: &Path) -> Process {
    reference::run(
        network,
        CLIENT,
        &format!("raw client -s {} -o {}", network.address(SERVER), out.display()),
    )
}

fn sow_framed_server(network: &TestNetwork, shared: &SharedFile) -> Process {
    sow::serve(network, SERVER, &format!("framed server -f {}", shared.path.display()))
}

fn reference_framed_server(network: &TestNetwork, shared: &SharedFile) -> Process {
    reference::serve(network, SERVER, &format!("framed server -f {}", shared.path.display()))
}

fn sow_framed_client(network: &TestNetwork, out: &Path) -> Process {
    sow::fetch(network, CLIENT, &format!("framed client -s {}", network.address(SERVER)), out)
}

fn reference_framed_client(network: &TestNetwork, out: &Path) -> Process {
    reference::run(
        network,
        CLIENT,
        &format!("framed client -s {} -o {}", network.address(SERVER), out.display()),
    )
}

#[test]
fn a_reference_raw_client_downloads_from_sow() {
    transfer(&SIZES, sow_raw_server, reference_raw_client);
}

#[test]
fn a_sow_raw_client_downloads_from_a_reference_server() {
    transfer(&SIZES, reference_raw_server, sow_raw_client);
}

#[test]
fn a_reference_framed_client_downloads_from_sow() {
    transfer(&SIZES, sow_framed_server, reference_framed_client);
}

#[test]
fn a_sow_framed_client_downloads_from_a_reference_server() {
    transfer(&SIZES, reference_framed_server, sow_framed_client);
}

#[test]
fn a_hundred_mebibytes_go_both_ways() {
    transfer(&[100 * MIB], sow_raw_server, reference_raw_client);
    transfer(&[100 * MIB], reference_raw_server, sow_raw_client);
    transfer(&[100 * MIB], sow_framed_server, reference_framed_client);
    transfer(&[100 * MIB], reference_framed_server, sow_framed_client);
}

#[test]
fn one_server_serves_five_clients_of_both_kinds() {
    let network = TestNetwork::new(6);
    let shared = SharedFile::file(10 * MIB);
    let _server = sow_raw_server(&network, &shared);
    let server = network.address(SERVER);
    let mut clients: Vec<_> = (2..=6)
        .map(|host| {
            let out = shared.out(&format!("copy{host}"));
            let line = format!("raw client -s {server}");
            let client = match host % 2 {
                0 => sow::fetch(&network, host, &line, &out),
                _ => reference::run(&network, host, &format!("{line} -o {}", out.display())),
            };
            (client, out)
        })
        .collect();
    for (client, out) in &mut clients {
        client.wait_success();
        shared.assert_copied_to(out);
    }
}

#[test]
fn a_raw_server_without_a_file_sends_ten_mebibytes() {
    let network = TestNetwork::new(2);
    let _server = sow::serve(&network, SERVER, "raw server");
    let mut client =
        reference::run(&network, CLIENT, &format!("raw client -s {}", network.address(SERVER)));
    assert_eq!(client.wait_event("complete")["bytes"], 10 * MIB);
}

#[test]
fn a_raw_client_without_a_path_reports_the_md5() {
    let (network, shared) = (TestNetwork::new(2), SharedFile::file(10 * MIB));
    let _server = reference_raw_server(&network, &shared);
    let mut client =
        sow::start(&network, CLIENT, &format!("raw client -s {}", network.address(SERVER)));
    let md5 = shared.md5();
    client.wait_for("MD5", |lines| lines.iter().any(|line| line.contains(&md5)).then_some(()));
    client.wait_success();
}
