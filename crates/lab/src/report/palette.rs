//! The colours of series: any number, no two of them equal or close, on paper and on a dark page.
//!
//! The first ones are chosen by hand: the palette of Okabe and Ito, which can be distinguished with
//! any colour vision, and then colours far from it. Further ones are generated: each is the
//! candidate with the greatest distance from all before it in `OKLab` (Ottosson 2020).

use std::sync::{Mutex, OnceLock, PoisonError};

/// A colour as red, green, blue.
type Rgb = [u8; 3];

/// The colours that are chosen by hand.
const CHOSEN: [Rgb; 12] = [
    [0x00, 0x72, 0xb2],
    [0xd5, 0x5e, 0x00],
    [0x00, 0x9e, 0x73],
    [0xcc, 0x79, 0xa7],
    [0xe6, 0x9f, 0x00],
    [0x56, 0xb4, 0xe9],
    [0x8c, 0x1d, 0x40],
    [0x7f, 0x7f, 0x00],
    [0x5e, 0x3c, 0x99],
    [0x0b, 0x4f, 0x4a],
    [0x7b, 0x4a, 0x2b],
    [0xe6, 0x2e, 0x8a],
];

/// The lightness and the chroma of generated colours: dark enough for white paper.
const LIGHTNESS: [f64; 4] = [0.42, 0.52, 0.62, 0.72];
const CHROMA: [f64; 3] = [0.07, 0.12, 0.18];
/// The hues of candidates, in equal steps of the circle.
const HUES: u32 = 48;

/// The lightness on a dark page: from this, in these parts of that on paper.
const DARK_PAGE_LIGHTNESS: (f64, f64) = (0.38, 0.58);

/// The colour of series `number` on paper and on a dark page, as `#rrggbb`.
pub(crate) fn series_color(number: usize) -> (String, String) {
    static MADE: OnceLock<Mutex<Vec<Rgb>>> = OnceLock::new();
    let made = MADE.get_or_init(|| Mutex::new(CHOSEN.to_vec()));
    let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
    while made.len() <= number {
        let next = farthest_candidate(&made);
        made.push(next);
    }
    (hex(made[number]), hex(on_dark_page(made[number])))
}

/// The candidate with the greatest distance from its closest neighbour among `taken`. When all
/// candidates are taken, any colour that is not.
fn farthest_candidate(taken: &[Rgb]) -> Rgb {
    let distance = |candidate: Rgb| {
        let lab = oklab(candidate);
        let closest = taken.iter().map(|&other| squared_distance(lab, oklab(other)));
        closest.fold(f64::INFINITY, f64::min)
    };
    let best = candidates()
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .max_by(|one, other| one.0.total_cmp(&other.0));
    match best {
        Some((distance, candidate)) if distance > 0.0 => candidate,
        // Steps by a number that is coprime to 2^24 reach every colour once.
        _ => {
            let step = |index: u32| {
                let [_, red, green, blue] = (index.wrapping_mul(0x9e_3779)).to_be_bytes();
                [red, green, blue]
            };
            (1..1 << 24).map(step).find(|color| !taken.contains(color)).unwrap_or_default()
        }
    }
}

fn candidates() -> Vec<Rgb> {
    let mut all = Vec::new();
    for lightness in LIGHTNESS {
        for chroma in CHROMA {
            for hue in 0..HUES {
                let hue = f64::from(hue) / f64::from(HUES) * std::f64::consts::TAU;
                all.extend(rgb([lightness, chroma * hue.cos(), chroma * hue.sin()]));
            }
        }
    }
    all
}

/// The same hue, lighter.
fn on_dark_page(color: Rgb) -> Rgb {
    let [lightness, a, b] = oklab(color);
    let lightness = DARK_PAGE_LIGHTNESS.0 + DARK_PAGE_LIGHTNESS.1 * lightness;
    // Less chroma until the colour exists on a screen.
    let parts = (0..=20).map(|step| 1.0 - f64::from(step) / 20.0);
    parts.filter_map(|part| rgb([lightness, a * part, b * part])).next().unwrap_or(color)
}

fn hex([red, green, blue]: Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn squared_distance(one: [f64; 3], other: [f64; 3]) -> f64 {
    one.iter().zip(other).map(|(one, other)| (one - other).powi(2)).sum()
}

fn oklab(color: Rgb) -> [f64; 3] {
    let [red, green, blue] = color.map(|channel| {
        let value = f64::from(channel) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    let l = (0.412_221 * red + 0.536_333 * green + 0.051_446 * blue).cbrt();
    let m = (0.211_903 * red + 0.680_7 * green + 0.107_397 * blue).cbrt();
    let s = (0.088_302 * red + 0.281_719 * green + 0.629_979 * blue).cbrt();
    [
        0.210_454 * l + 0.793_618 * m - 0.004_072 * s,
        1.977_998 * l - 2.428_592 * m + 0.450_594 * s,
        0.025_904 * l + 0.782_772 * m - 0.808_676 * s,
    ]
}

/// The colour of the screen; `None` if no screen can show it.
fn rgb([lightness, a, b]: [f64; 3]) -> Option<Rgb> {
    let l = (lightness + 0.396_338 * a + 0.215_804 * b).powi(3);
    let m = (lightness - 0.105_561 * a - 0.063_854 * b).powi(3);
    let s = (lightness - 0.089_484 * a - 1.291_486 * b).powi(3);
    let linear = [
        4.076_742 * l - 3.307_712 * m + 0.230_97 * s,
        -1.268_438 * l + 2.609_757 * m - 0.341_319 * s,
        -0.004_196 * l - 0.703_419 * m + 1.707_615 * s,
    ];
    let channel = |value: f64| {
        let value = value.clamp(0.0, 1.0);
        let value = if value <= 0.003_130_8 {
            12.92 * value
        } else {
            1.055 * value.powf(1.0 / 2.4) - 0.055
        };
        (value * 255.0).round() as u8
    };
    linear.iter().all(|value| (-0.001..=1.001).contains(value)).then(|| linear.map(channel))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(color: &str) -> Rgb {
        let channel = |at: usize| u8::from_str_radix(&color[at..at + 2], 16).unwrap();
        [channel(1), channel(3), channel(5)]
    }

    /// The least distance between any two of these colours.
    fn closest(colors: &[Rgb]) -> f64 {
        let pairs = colors.iter().enumerate().flat_map(|(index, &one)| {
            colors[..index].iter().map(move |&other| squared_distance(oklab(one), oklab(other)))
        });
        pairs.fold(f64::INFINITY, f64::min).sqrt()
    }

    #[test]
    fn no_two_series_have_the_same_color() {
        let colors: Vec<_> = (0..200).map(series_color).collect();
        let [light, dark] = [0, 1].map(|side| {
            let side = colors.iter().map(|color| [&color.0, &color.1][side]);
            side.map(|color| parsed(color)).collect::<Vec<_>>()
        });
        for (count, least) in [(12, 0.08), (24, 0.06), (48, 0.035), (200, 0.001)] {
            let found = [closest(&light[..count]), closest(&dark[..count])];
            assert!(found[0] >= least && found[1] >= least * 0.5, "{count}: {found:?}");
        }
    }

    #[test]
    fn colors_are_converted_there_and_back() {
        for color in CHOSEN {
            let back = rgb(oklab(color)).unwrap();
            let off = color.iter().zip(back).map(|(one, other)| one.abs_diff(other)).max();
            assert!(off <= Some(1), "{color:?} {back:?}");
        }
    }

    #[test]
    fn a_color_is_found_when_all_candidates_are_taken() {
        let taken = candidates();
        let next = farthest_candidate(&taken);
        assert!(!taken.contains(&next));
    }
}
