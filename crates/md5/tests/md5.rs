//! MD5 in any segmentation, against another implementation.

use md5::Digest;
use proptest::prelude::*;
use sow_md5::Md5;

#[test]
fn the_test_suite_of_rfc_1321() {
    for (text, sum) in [
        ("", "d41d8cd98f00b204e9800998ecf8427e"),
        ("abc", "900150983cd24fb0d6963f7d28e17f72"),
        ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        (
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            "57edf4a22be3c955ac49da2e2107b67a",
        ),
    ] {
        let mut md5 = Md5::new();
        md5.update(text.as_bytes());
        let digits: String = md5.finish().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, sum, "{text}");
    }
}

proptest! {
    #[test]
    fn any_segmentation_gives_the_sum_that_others_get(
        bytes in proptest::collection::vec(any::<u8>(), 0..5000),
        cuts in proptest::collection::vec(0usize..5000, 0..8),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut md5 = Md5::new();
        for pair in cuts.windows(2) {
            md5.update(&bytes[pair[0]..pair[1]]);
        }
        prop_assert_eq!(md5.finish().to_vec(), md5::Md5::digest(&bytes).to_vec());
    }
}
