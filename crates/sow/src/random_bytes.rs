//! Content that is made up, in memory: what servers of document 1 serve when no file is named.

use sow_content::{Geometry, hash::Md5};
use sow_store::{MemoryStore, Store};

use crate::{exit::Failure, memory, quantity::Size};

/// `length` random bytes in memory, in pieces as `cut` makes them of a length, and their MD5.
///
/// # Errors
/// When they do not fit into half of the memory that is available, or cannot be cut.
pub(crate) fn random_bytes(
    length: u64,
    cut: impl FnOnce(u64) -> Result<Geometry, Failure>,
) -> Result<(Store, [u8; 16]), Failure> {
    let most = memory::half_of_available();
    if length > most {
        return Err(Failure::usage(format!(
            "{} of random bytes do not fit into memory",
            Size(length)
        ))
        .tip(format!("at most {} do; or name a file with -f", Size(most))));
    }
    let geometry = cut(length)?;
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
    fn the_sum_is_that_of_what_is_stored() {
        let (store, sum) =
            random_bytes(2500, |total| Ok(Geometry::new(total, 1000).unwrap())).unwrap();
        let (mut all, mut md5) = (vec![0; 2500], Md5::new());
        store.read(0..2500, &mut all).unwrap();
        md5.update(&all);
        assert_eq!(md5.finish(), sum);
        assert!(store.finish().is_ok(), "every piece is there");
        let too_much = random_bytes(u64::MAX, |_| panic!("cut before it is known to fit"));
        assert_eq!(too_much.unwrap_err().exit(), Exit::Usage);
    }
}
