//! Random content in memory: what a `raw` or `chunk` server serves when no file is named.

use sow_content::{Geometry, hash::Md5};
use sow_store::{MemoryStore, Store};

use crate::{exit::Failure, memory_limit, quantity::Size};

/// `length` random bytes in memory and their MD5. `geometry_for` divides a length into pieces.
///
/// # Errors
/// When the bytes do not fit into half of the available memory, or cannot be divided.
pub(crate) fn random_content(
    length: u64,
    geometry_for: impl FnOnce(u64) -> Result<Geometry, Failure>,
) -> Result<(Store, [u8; 16]), Failure> {
    let max_length = memory_limit::half_of_available();
    if length > max_length {
        return Err(Failure::usage(format!(
            "{} of random bytes do not fit into memory",
            Size(length)
        ))
        .tip(format!("use at most {}, or name a file with -f", Size(max_length))));
    }
    let geometry = geometry_for(length)?;
    let store = Store::from(MemoryStore::new(geometry));
    let (mut random, mut md5) = (fastrand::Rng::new(), Md5::new());
    for piece in 0..geometry.pieces() {
        let mut bytes = vec![0; geometry.length_of(piece) as usize];
        random.fill(&mut bytes);
        md5.update(&bytes);
        store.write_piece(piece, &[bytes.into()])?;
        store.journal(piece)?;
    }
    Ok((store, md5.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn the_md5_is_that_of_the_stored_bytes() {
        let (store, expected) =
            random_content(2500, |total| Ok(Geometry::new(total, 1000).unwrap())).unwrap();
        let (mut all, mut md5) = (vec![0; 2500], Md5::new());
        store.read(0..2500, &mut all).unwrap();
        md5.update(&all);
        assert_eq!(md5.finish(), expected);
        assert!(store.finish().is_ok(), "every piece is stored");
        let too_much = random_content(u64::MAX, |_| panic!("divided before its size was checked"));
        assert_eq!(too_much.unwrap_err().exit(), Exit::Usage);
    }
}
