//! Sequences of inputs to one engine: whatever peers, trackers and the store do, it refers to what
//! exists, serves what it has, stores what is whole, and holds no more than it may.

mod messages;
mod operations;
mod scene;

use self::{operations::Operations, scene::Scene};

/// The limit of operations in one run.
const MAX_OPERATIONS: usize = 400;

/// Decodes the input as settings and operations, and carries them out.
pub fn engine(data: &[u8]) {
    let mut operations = Operations::new(data);
    let mut scene = Scene::new(&mut operations);
    for _ in 0..MAX_OPERATIONS {
        if operations.is_empty() {
            break;
        }
        operations.next(&mut scene);
        scene.check_bounds();
    }
    // The long wait at the end takes longer than all else, so that few runs have it.
    if data.len() % 16 == 0 {
        scene.check_silence();
    }
}
