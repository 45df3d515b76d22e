//! The trackers of a torrent, in whatever shape programs write them.

use super::{
    MAX_TRACKER_URL, MAX_TRACKERS, MetainfoError, MetainfoWarning, error::field, warning::Warnings,
};
use crate::bencode::{BencodeError, Reader};

/// What was read of `announce` or `announce-list`.
#[derive(Debug, Default)]
struct Trackers {
    tiers: Vec<Vec<String>>,
    count: usize,
    /// Something has another type than BEP 3 or BEP 12 say.
    is_odd: bool,
}

/// Reads `announce`: one URL (BEP 3). Some programs write a list.
pub(super) fn read_announce(
    reader: &mut Reader<'_>,
    warnings: &mut Warnings,
) -> Result<Vec<Vec<String>>, MetainfoError> {
    let is_odd = reader.peek()? == b'l';
    read("announce", Trackers { is_odd, ..Trackers::default() }, reader, warnings)
}

/// Reads `announce-list`: a list of tiers, each a list of URLs (BEP 12). Some programs write a list
/// of URLs, or one URL. Tiers without a kept URL are omitted.
pub(super) fn read_announce_list(
    reader: &mut Reader<'_>,
    warnings: &mut Warnings,
) -> Result<Vec<Vec<String>>, MetainfoError> {
    let is_odd = reader.peek()? != b'l';
    read("announce-list", Trackers { is_odd, ..Trackers::default() }, reader, warnings)
}

fn read(
    name: &str,
    mut trackers: Trackers,
    reader: &mut Reader<'_>,
    warnings: &mut Warnings,
) -> Result<Vec<Vec<String>>, MetainfoError> {
    field(name, trackers.read_tiers(reader))?;
    match (trackers.is_odd, trackers.count) {
        (false, _) => {}
        (true, 0) => warnings.ignored(name),
        (true, _) => warnings.add(|| MetainfoWarning::Understood {
            field: name.to_owned(),
            meaning: "a list of trackers",
        }),
    }
    Ok(trackers.tiers)
}

impl Trackers {
    fn read_tiers(&mut self, reader: &mut Reader<'_>) -> Result<(), BencodeError> {
        if reader.peek()? != b'l' {
            return self.read_tier_of_one(reader);
        }
        reader.list(|_, reader| match reader.peek()? {
            b'l' => self.read_tier(reader),
            _ => {
                self.is_odd = true;
                self.read_tier_of_one(reader)
            }
        })
    }

    fn read_tier(&mut self, reader: &mut Reader<'_>) -> Result<(), BencodeError> {
        let mut tier = Vec::new();
        reader.list(|_, reader| {
            tier.extend(self.read_url(reader)?);
            Ok::<_, BencodeError>(())
        })?;
        if !tier.is_empty() {
            self.tiers.push(tier);
        }
        Ok(())
    }

    fn read_tier_of_one(&mut self, reader: &mut Reader<'_>) -> Result<(), BencodeError> {
        let url = self.read_url(reader)?;
        self.tiers.extend(url.map(|url| vec![url]));
        Ok(())
    }

    fn read_url(&mut self, reader: &mut Reader<'_>) -> Result<Option<String>, BencodeError> {
        let Ok(bytes) = reader.attempt(Reader::bytes)? else {
            self.is_odd = true;
            return Ok(None);
        };
        let url = url(bytes).filter(|_| self.count < MAX_TRACKERS);
        self.count += usize::from(url.is_some());
        Ok(url)
    }
}

fn url(bytes: &[u8]) -> Option<String> {
    let url = std::str::from_utf8(bytes).ok()?.trim();
    (!url.is_empty() && url.len() <= MAX_TRACKER_URL).then(|| url.to_owned())
}
