//! The fonts of PNG pictures: the embedded one, and fonts of this machine for letters that it
//! lacks. SVG pictures and the page are shown with the fonts of their reader.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use resvg::usvg::fontdb::Database;
use skrifa::{FontRef, MetadataProvider as _};

use super::font;

/// Where Linux systems keep fonts.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/share/fonts", "/usr/local/share/fonts"];
/// Where a user's own fonts are, below the home folder.
const HOME_FOLDERS: [&str; 2] = [".local/share/fonts", ".fonts"];
const FONT_ENDINGS: [&str; 4] = ["ttf", "otf", "ttc", "otc"];
/// The limit of font files that are looked at.
const MAX_FILES: usize = 3000;
/// The limit of a font file. The largest fonts of whole scripts have 30 MiB.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// The limit of the depth of folders.
const MAX_DEPTH: usize = 8;
/// The limit of letters in a warning.
const MAX_NAMED_LETTERS: usize = 8;

/// Fonts for a set of letters.
#[derive(Debug, Default)]
pub(super) struct Fonts {
    pub(super) database: Arc<Database>,
    missing: BTreeSet<char>,
}

impl Fonts {
    /// Fonts for these pictures. `language` is that of their texts, as a BCP 47 tag: the same Han
    /// character has another shape in Chinese, Japanese and Korean.
    pub(super) fn for_pictures<'a>(
        pictures: impl Iterator<Item = &'a str>,
        language: Option<&str>,
    ) -> Self {
        let letters = pictures.flat_map(str::chars).filter(|&letter| font::lacks(letter));
        Self::find(letters.collect(), language, &folders())
    }

    /// The embedded font, and as many fonts of these folders as are needed for `missing`.
    fn find(mut missing: BTreeSet<char>, language: Option<&str>, folders: &[PathBuf]) -> Self {
        let mut database = Database::new();
        database.load_font_data(font::BYTES.to_vec());
        let mut files = Vec::new();
        if !missing.is_empty() {
            folders.iter().for_each(|folder| list_fonts(folder, 0, &mut files));
        }
        // Plain sans-serif faces fit to the embedded font.
        files.sort_by_key(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            (!name.contains("sans"), !name.contains("regular"), name.contains("mono"), path.clone())
        });
        for path in files {
            if missing.is_empty() {
                break;
            }
            let Some(bytes) = read_font(&path) else { continue };
            let found: Vec<char> =
                missing.iter().copied().filter(|&letter| has_letter(&bytes, letter)).collect();
            if !found.is_empty() {
                missing.retain(|letter| !found.contains(letter));
                load(&mut database, bytes, language);
            }
        }
        Self { database: Arc::new(database), missing }
    }

    /// What to install when letters are missing.
    pub(super) fn warning(&self) -> Option<String> {
        let first = *self.missing.first()?;
        let named: String = self.missing.iter().take(MAX_NAMED_LETTERS).collect();
        let more = if self.missing.len() > MAX_NAMED_LETTERS { "…" } else { "" };
        let package = if self.missing.iter().copied().any(is_east_asian) {
            "fonts-noto-cjk"
        } else {
            "fonts-noto-core"
        };
        let count = self.missing.len();
        let letters = if count == 1 { "letter" } else { "letters" };
        let shown = if first.is_control() { String::new() } else { format!(" ({named}{more})") };
        Some(format!(
            "The PNG pictures lack {count} {letters}{shown}, because no font of this machine has \
             them: apt install {package}, and make the report again. The page and the SVG \
             pictures use the fonts of their reader."
        ))
    }
}

/// Chinese, Japanese and Korean, and their punctuation and wide forms.
fn is_east_asian(letter: char) -> bool {
    matches!(u32::from(letter),
        0x1100..=0x11ff | 0x2e80..=0x9fff | 0xa960..=0xa97f | 0xac00..=0xd7ff | 0xf900..=0xfaff
        | 0xfe30..=0xfe4f | 0xff00..=0xffef | 0x1_f200..=0x1_f2ff | 0x2_0000..=0x3_ffff)
}

fn folders() -> Vec<PathBuf> {
    let home = env::var_os("HOME").map(PathBuf::from);
    let own = home.iter().flat_map(|home| HOME_FOLDERS.map(|folder| home.join(folder)));
    SYSTEM_FOLDERS.map(PathBuf::from).into_iter().chain(own).collect()
}

fn list_fonts(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if files.len() >= MAX_FILES {
            return;
        }
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        if path.is_dir() && depth < MAX_DEPTH {
            list_fonts(&path, depth + 1, files);
        } else if FONT_ENDINGS.contains(&&*ending) {
            files.push(path);
        }
    }
}

fn read_font(path: &Path) -> Option<Vec<u8>> {
    let metadata = fs::metadata(path).ok()?;
    (metadata.is_file() && metadata.len() <= MAX_FILE_BYTES).then(|| fs::read(path).ok())?
}

/// Whether the first face of a font file has this letter.
fn has_letter(bytes: &[u8], letter: char) -> bool {
    let font = FontRef::from_index(bytes, 0);
    font.is_ok_and(|font| font.charmap().map(letter).is_some())
}

/// Adds a font. Of a file with a face for each language, only the fitting one is kept.
fn load(database: &mut Database, bytes: Vec<u8>, language: Option<&str>) {
    let before: Vec<_> = database.faces().map(|face| face.id).collect();
    database.load_font_data(bytes);
    let wanted = face_ending(language);
    let is_wanted = |families: &[(String, resvg::usvg::fontdb::Language)]| {
        families.iter().any(|(family, _)| family.ends_with(wanted))
    };
    let new: Vec<_> = database.faces().filter(|face| !before.contains(&face.id)).collect();
    if !new.iter().any(|face| is_wanted(&face.families)) {
        return;
    }
    let others: Vec<_> =
        new.iter().filter(|face| !is_wanted(&face.families)).map(|face| face.id).collect();
    others.into_iter().for_each(|id| database.remove_face(id));
}

/// The end of the family name of a face for this language, as in Noto Sans CJK and Source Han Sans.
fn face_ending(language: Option<&str>) -> &'static str {
    let tag = language.unwrap_or("zh").to_ascii_lowercase();
    let parts: Vec<&str> = tag.split('-').collect();
    match parts[0] {
        "ja" => " JP",
        "ko" => " KR",
        _ if parts.contains(&"hk") || parts.contains(&"mo") => " HK",
        _ if parts.contains(&"tw") || parts.contains(&"hant") => " TC",
        _ => " SC",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_font_is_suggested_where_none_is_found() {
        let none = Fonts::find("机器".chars().collect(), None, &[]);
        let text = none.warning().unwrap();
        assert!(text.contains("2 letters (器机)") && text.contains("fonts-noto-cjk"), "{text}");
        let other = Fonts::find("ကခဂ".chars().collect(), None, &[]).warning().unwrap();
        assert!(other.contains("fonts-noto-core"), "{other}");
        assert_eq!(Fonts::find(BTreeSet::new(), None, &[]).warning(), None);
    }

    #[test]
    fn fonts_of_the_machine_are_found_in_folders() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("truetype/some");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("broken.ttf"), "no font").unwrap();
        fs::write(folder.join("font.TTF"), font::BYTES).unwrap();
        let folders = [dir.path().join("none"), dir.path().to_owned()];
        let fonts = Fonts::find("a机".chars().collect(), None, &folders);
        assert_eq!(fonts.missing, BTreeSet::from(['机']));
        assert_eq!(fonts.database.faces().count(), 2);
    }

    #[test]
    fn every_language_has_its_face() {
        let endings = [None, Some("zh-CN"), Some("zh-Hant"), Some("ja"), Some("ko-KR"), Some("en")];
        assert_eq!(endings.map(face_ending), [" SC", " SC", " TC", " JP", " KR", " SC"]);
    }
}
