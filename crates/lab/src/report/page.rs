//! One page of HTML with the whole report: it has no script, loads nothing, and follows the light
//! or dark theme.

use data_encoding::BASE64;

use super::{
    canvas::{Medium, page_variables},
    escape::escaped,
    experiment_info::ExperimentInfo,
    figure::Figure,
    font,
    table::Table,
};

/// The text of the page.
pub(crate) fn page(
    info: &ExperimentInfo<'_>,
    network: &[Table],
    results: &[Table],
    figures: &[Figure],
) -> String {
    let [light, dark] = page_variables();
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n\
         @font-face{{font-family:\"DejaVu Sans\";src:url(data:font/ttf;base64,{font}) \
         format(\"truetype\")}}\n:root{{{light}}}\n\
         @media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{STYLE_SHEET}</style>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n",
        title = escaped(&info.title()),
        font = BASE64.encode(font::BYTES),
    );
    text += "<dl>";
    for (name, value) in info.list() {
        text += &format!("<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(&value));
    }
    text += "</dl>\n";
    for remark in info.remarks() {
        text += &format!("<p class=\"remark\">{}</p>\n", escaped(&remark));
    }
    text += "<h2>Network</h2>\n<div class=\"beside\">\n";
    network.iter().for_each(|table| text += &table.html());
    text += "</div>\n<h2>Results</h2>\n";
    // Tables without a CSV file are as wide as the page.
    let (wide, narrow): (Vec<&Table>, Vec<&Table>) =
        results.iter().partition(|table| table.name.is_empty());
    wide.iter().for_each(|table| text += &table.html());
    text += "<div class=\"beside\">\n";
    narrow.iter().for_each(|table| text += &table.html());
    text += "</div>\n";
    text += "<h2>Plots</h2>\n<div class=\"plots\">\n";
    for figure in figures {
        text += &format!(
            "<figure class=\"plot\">{}<figcaption>{}</figcaption></figure>\n",
            figure.svg(Medium::Page),
            escaped(&figure.caption)
        );
    }
    text += "</div>\n<h2>Commands</h2>\n";
    text += &format!("<pre>{}</pre>\n", escaped(&info.command()));
    for (title, commands) in info.run_commands() {
        let commands = commands.join("\n");
        text += &format!(
            "<details><summary>{}</summary><pre>{}</pre></details>\n",
            escaped(&title),
            escaped(&commands)
        );
    }
    text + "</main>\n</body>\n</html>\n"
}

const STYLE_SHEET: &str = "\
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1440px;margin:0 auto;padding:1.5rem}
h1{font-size:1.7rem;margin:.5rem 0 1rem}
h2{font-size:1.3rem;margin:2.2rem 0 .8rem;border-bottom:1px solid var(--grid);
padding-bottom:.3rem}
h3{font-size:1.05rem;margin:0 0 .5rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1.2rem;margin:0}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
.remark{border-left:4px solid var(--series-1);padding:.2rem .8rem;margin:.8rem 0}
figure{margin:0 0 1.8rem}
figcaption{color:var(--muted);font-size:.9rem;margin-top:.4rem;max-width:70rem}
.table div{overflow-x:auto}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{padding:.22rem .45rem;text-align:left;vertical-align:bottom;
border-bottom:1px solid var(--grid)}
td{white-space:nowrap}
th{border-bottom:2px solid var(--muted);font-weight:600}
.number{text-align:right}
tbody tr:hover{background:color-mix(in srgb,var(--grid) 50%,transparent)}
.beside{display:flex;flex-wrap:wrap;gap:0 4rem}
.beside figcaption{max-width:36rem}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,520px),1fr));
gap:1rem 2rem}
.plot svg{display:block;width:100%;height:auto}
pre{overflow-x:auto;padding:.7rem 1rem;border:1px solid var(--grid);border-radius:4px;
font-size:.88rem}
summary{cursor:pointer}
@media print{.plot,tr{break-inside:avoid}}
";
