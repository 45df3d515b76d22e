//! The info dictionary: name, geometry, piece hashes and files of the content. The info-hash covers
//! its exact bytes, so a dictionary that was received is never encoded again; `mod.rs` keeps the
//! bytes.

use super::{
    FileSpan, Files, MetainfoError, MetainfoWarning,
    distinct::make_distinct,
    error::{check_length, field},
    files,
    warning::Warnings,
};
use crate::{
    Geometry,
    bencode::{BencodeError, Encoder, Limits, Reader},
    path::{PathError, clean_name, usable_name},
};

/// The validated description of the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The name of the file or folder: one path component that passes [`clean_name`].
    pub name: String,
    /// The length of the content and of its pieces.
    pub geometry: Geometry,
    /// The SHA-1 of each piece, or empty for a protocol without piece hashes
    /// ([`Info::without_hashes`]).
    pub piece_hashes: Vec<[u8; 20]>,
    /// One file, or a folder of files. The lengths add up to the geometry's total.
    pub files: Files,
    /// Whether the torrent is private: peers come from its trackers only (BEP 27).
    pub private: bool,
}

impl Info {
    /// Describes new content.
    ///
    /// # Errors
    /// When the arguments contradict each other, or a name is rejected.
    pub fn from_parts(
        name: &str,
        geometry: Geometry,
        files: Files,
        piece_hashes: Vec<[u8; 20]>,
        private: bool,
    ) -> Result<Self, MetainfoError> {
        let name = checked_name("info.name", clean_name(name.as_bytes()))?;
        if let Files::Multi(entries) = &files {
            files::check(entries)?;
            let sum = files::total(entries)?;
            if sum != geometry.total() {
                return Err(MetainfoError::TotalMismatch { files: sum, total: geometry.total() });
            }
        }
        check_hash_count(&piece_hashes, geometry)?;
        Ok(Self { name, geometry, piece_hashes, files, private })
    }

    /// A single file without piece hashes, as in the `chunk` protocol. It cannot be encoded as an
    /// info dictionary.
    ///
    /// # Errors
    /// When the name is rejected.
    pub fn without_hashes(name: &str, geometry: Geometry) -> Result<Self, MetainfoError> {
        let name = checked_name("info.name", clean_name(name.as_bytes()))?;
        Ok(Self { name, geometry, piece_hashes: Vec::new(), files: Files::Single, private: false })
    }

    /// Whether there is a hash for every piece.
    pub fn has_hashes(&self) -> bool {
        self.piece_hashes.len() == self.geometry.pieces() as usize
    }

    /// Decodes a bencoded info dictionary.
    ///
    /// # Errors
    /// When the dictionary is not valid; the error names the field and the byte position.
    pub fn decode(info_bytes: &[u8]) -> Result<Self, MetainfoError> {
        Self::decode_with(info_bytes, &mut Warnings::default())
    }

    /// As [`Info::decode`], and adds what was ignored or replaced to `warnings`.
    pub(super) fn decode_with(
        info_bytes: &[u8],
        warnings: &mut Warnings,
    ) -> Result<Self, MetainfoError> {
        check_length(info_bytes)?;
        let mut reader = Reader::new(info_bytes, Limits::LARGE);
        let info = Self::read(&mut reader, warnings)?;
        reader.finish()?;
        Ok(info)
    }

    /// The bencoded info dictionary, with known fields only.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.dict(|dict| {
            match &self.files {
                Files::Single => dict.int(b"length", self.geometry.total() as i64),
                Files::Multi(entries) => {
                    dict.entry(b"files", |encoder| files::write(entries, encoder))
                }
            }
            dict.bytes(b"name", self.name.as_bytes());
            dict.int(b"piece length", i64::from(self.geometry.piece_length()));
            dict.bytes(b"pieces", self.piece_hashes.as_flattened());
            if self.private {
                dict.int(b"private", 1);
            }
        });
        encoder.finish()
    }

    /// The byte range of each file, in the order of the content.
    pub fn file_spans(&self) -> impl Iterator<Item = FileSpan<'_>> {
        files::spans(&self.files, self.geometry.total())
    }

    /// Reads the dictionary at the reader's position.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        warnings: &mut Warnings,
    ) -> Result<Self, MetainfoError> {
        let fields = field("info", Fields::read(reader, warnings))?;
        let Some(pieces) = fields.pieces else {
            return Err(match fields.is_v2 {
                true => MetainfoError::V2Only,
                false => MetainfoError::Missing { field: "info.pieces".into() },
            });
        };
        // Old programs write `name` in their local encoding, and `name.utf-8` beside it.
        let name = match (fields.utf8_name, fields.name) {
            (Some(name), _) => name,
            (None, Some(read)) => field("info.name", read)?,
            (None, None) => return Err(MetainfoError::Missing { field: "info.name".into() }),
        };
        let piece_length = fields
            .piece_length
            .ok_or_else(|| MetainfoError::Missing { field: "info.piece length".into() })?;
        let piece_length = length("info.piece length", piece_length)?;
        let (total, files) = match (fields.length, fields.files) {
            (single, Some(mut entries)) => {
                if single.is_some() {
                    warnings.add(|| MetainfoWarning::FileAndFolder);
                }
                if entries.is_empty() {
                    return Err(MetainfoError::NoFiles);
                }
                make_distinct(&mut entries, warnings);
                (files::total(&entries)?, Files::Multi(entries))
            }
            (Some(read), None) => {
                (length("info.length", field("info.length", read)?)?, Files::Single)
            }
            (None, None) => return Err(MetainfoError::Missing { field: "info.length".into() }),
        };
        let geometry = Geometry::new(total, piece_length)?;
        let (piece_hashes, remainder) = pieces.as_chunks::<20>();
        if !remainder.is_empty() {
            return Err(MetainfoError::PiecesLength { length: pieces.len() });
        }
        check_hash_count(piece_hashes, geometry)?;
        let usable = usable_name(name);
        if usable.as_bytes() != name {
            warnings.name_replaced(name, &usable);
        }
        Ok(Self {
            name: usable.into_owned(),
            geometry,
            piece_hashes: piece_hashes.to_vec(),
            files,
            private: fields.private,
        })
    }
}

/// The fields of the dictionary, before they are validated together.
#[derive(Default)]
struct Fields<'a> {
    name: Option<Result<&'a [u8], BencodeError>>,
    utf8_name: Option<&'a [u8]>,
    piece_length: Option<i64>,
    pieces: Option<&'a [u8]>,
    length: Option<Result<i64, BencodeError>>,
    files: Option<Vec<super::FileEntry>>,
    private: bool,
    is_v2: bool,
}

impl<'a> Fields<'a> {
    fn read(reader: &mut Reader<'a>, warnings: &mut Warnings) -> Result<Self, MetainfoError> {
        let mut fields = Self::default();
        reader.dict(|key, reader| {
            let name = format_args!("info.{}", key.escape_ascii());
            match key {
                b"name" => fields.name = Some(field(name, reader.attempt(Reader::bytes))?),
                b"name.utf-8" => match field(name, reader.attempt(Reader::bytes))? {
                    Ok(read) if !read.is_empty() => fields.utf8_name = Some(read),
                    _ => warnings.ignored(name),
                },
                b"piece length" => fields.piece_length = Some(field(name, reader.int())?),
                b"pieces" => fields.pieces = Some(field(name, reader.bytes())?),
                b"length" => fields.length = Some(field(name, reader.attempt(Reader::int))?),
                b"files" => fields.files = Some(files::read(reader, warnings)?),
                b"private" => fields.private = field(name, read_private(reader, warnings))?,
                b"meta version" | b"file tree" => fields.is_v2 = true,
                _ => {}
            }
            Ok::<_, MetainfoError>(())
        })?;
        Ok(fields)
    }
}

/// `private` (BEP 27). The text `1` is understood too: its author wants no public swarm.
fn read_private(reader: &mut Reader<'_>, warnings: &mut Warnings) -> Result<bool, BencodeError> {
    let before = reader.clone();
    if let Ok(value) = reader.attempt(Reader::int)? {
        return Ok(value == 1);
    }
    let field = "info.private";
    let is_one = before.clone().bytes().is_ok_and(|text| text == b"1");
    match is_one {
        true => {
            warnings.add(|| MetainfoWarning::Understood { field: field.into(), meaning: "yes" })
        }
        false => warnings.ignored(field),
    }
    Ok(is_one)
}

fn length(field: &str, value: i64) -> Result<u64, MetainfoError> {
    u64::try_from(value).map_err(|_| MetainfoError::Negative { field: field.into(), value })
}

fn checked_name(field: &str, name: Result<&str, PathError>) -> Result<String, MetainfoError> {
    match name {
        Ok(name) => Ok(name.to_owned()),
        Err(source) => Err(MetainfoError::Path { field: field.into(), source }),
    }
}

fn check_hash_count(piece_hashes: &[[u8; 20]], geometry: Geometry) -> Result<(), MetainfoError> {
    let (got, want) = (piece_hashes.len(), geometry.pieces());
    if got == want as usize { Ok(()) } else { Err(MetainfoError::HashCount { got, want }) }
}
