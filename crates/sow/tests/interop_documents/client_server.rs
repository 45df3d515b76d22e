//! `raw` and `framed`: one sends the file, the other takes it; `sow` in one role, a naive program
//! in the other.

use std::path::Path;

use crate::{
    naive,
    process::Process,
    shared::{MIB, Shared},
    sow,
    world::World,
};

const SERVER: u8 = 1;
const CLIENT: u8 = 2;
/// A byte, what one send of the originals holds, a byte more, and a file.
const SIZES: [usize; 4] = [1, 1024, 1025, 10 * MIB];

/// Starts a server; starts a client of the host `SERVER`, which saves to the path.
type Serve = fn(&World, &Shared) -> Process;
type Fetch = fn(&World, &Path) -> Process;

fn transfer(sizes: &[usize], serve: Serve, fetch: Fetch) {
    let world = World::new(2);
    for size in sizes {
        let shared = Shared::file(*size);
        let _server = serve(&world, &shared);
        let out = shared.out("copy");
        fetch(&world, &out).wait_success();
        shared.assert_copied_to(&out);
    }
}

fn sow_raw_server(world: &World, shared: &Shared) -> Process {
    sow::serve(world, SERVER, &format!("raw server -f {}", shared.path.display()))
}

fn naive_raw_server(world: &World, shared: &Shared) -> Process {
    naive::serve(world, SERVER, &format!("raw server -f {}", shared.path.display()))
}

fn sow_raw_client(world: &World, out: &Path) -> Process {
    sow::fetch(world, CLIENT, &format!("raw client -s {}", world.address(SERVER)), out)
}

fn naive_raw_client(world: &World, out: &Path) -> Process {
    naive::run(
        world,
        CLIENT,
        &format!("raw client -s {} -o {}", world.address(SERVER), out.display()),
    )
}

fn sow_framed_server(world: &World, shared: &Shared) -> Process {
    sow::serve(world, SERVER, &format!("framed server -f {}", shared.path.display()))
}

fn naive_framed_server(world: &World, shared: &Shared) -> Process {
    naive::serve(world, SERVER, &format!("framed server -f {}", shared.path.display()))
}

fn sow_framed_client(world: &World, out: &Path) -> Process {
    sow::fetch(world, CLIENT, &format!("framed client -s {}", world.address(SERVER)), out)
}

fn naive_framed_client(world: &World, out: &Path) -> Process {
    naive::run(
        world,
        CLIENT,
        &format!("framed client -s {} -o {}", world.address(SERVER), out.display()),
    )
}

#[test]
fn raw_from_sow() {
    transfer(&SIZES, sow_raw_server, naive_raw_client);
}

#[test]
fn raw_to_sow() {
    transfer(&SIZES, naive_raw_server, sow_raw_client);
}

#[test]
fn framed_from_sow() {
    transfer(&SIZES, sow_framed_server, naive_framed_client);
}

#[test]
fn framed_to_sow() {
    transfer(&SIZES, naive_framed_server, sow_framed_client);
}

#[test]
fn a_hundred_mebibytes_both_ways() {
    transfer(&[100 * MIB], sow_raw_server, naive_raw_client);
    transfer(&[100 * MIB], naive_raw_server, sow_raw_client);
    transfer(&[100 * MIB], sow_framed_server, naive_framed_client);
    transfer(&[100 * MIB], naive_framed_server, sow_framed_client);
}

#[test]
fn one_server_serves_five_clients_of_both_kinds() {
    let world = World::new(6);
    let shared = Shared::file(10 * MIB);
    let _server = sow_raw_server(&world, &shared);
    let server = world.address(SERVER);
    let mut clients: Vec<_> = (2..=6)
        .map(|host| {
            let out = shared.out(&format!("copy{host}"));
            let line = format!("raw client -s {server}");
            let client = match host % 2 {
                0 => sow::fetch(&world, host, &line, &out),
                _ => naive::run(&world, host, &format!("{line} -o {}", out.display())),
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
    let world = World::new(2);
    let _server = sow::serve(&world, SERVER, "raw server");
    let mut client =
        naive::run(&world, CLIENT, &format!("raw client -s {}", world.address(SERVER)));
    assert_eq!(client.wait_event("complete")["bytes"], 10 * MIB);
}

#[test]
fn a_raw_client_without_a_path_reports_the_md5() {
    let (world, shared) = (World::new(2), Shared::file(10 * MIB));
    let _server = naive_raw_server(&world, &shared);
    let mut client =
        sow::start(&world, CLIENT, &format!("raw client -s {}", world.address(SERVER)));
    let md5 = shared.md5();
    client.wait_for("MD5", |lines| lines.iter().any(|line| line.contains(&md5)).then_some(()));
    client.wait_success();
}
