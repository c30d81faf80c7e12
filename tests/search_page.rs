//! `hyperslab search --html`: the page of a real search, and what a browser makes of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use hyperslab::Exit;
use hyperslab::model::Background;
use hyperslab::model::picture::{Rgb, decode};
use image::{Rgb as Pixel, RgbImage};

use crate::util::{Dir, Run, repository};

/// Files of the sample's first assets, made once.
fn made() -> &'static Dir {
    static MADE: OnceLock<Dir> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = Dir::kept("search_page");
        let embed = |family: &str, model: &str, captions: &str| {
            let job = dir.hyperslab(["embed", family, "--device", "cpu", "--max-assets", "9"]);
            let job = job.arg("--model").arg(repository(model)).arg(captions);
            job.arg(repository("sample/captions_zh.json")).arg("--renders").arg(repository("sample/renders"))
        };
        embed("siglip", "sample/model", "--captions").run().exits(Exit::Success);
        embed("qwen", "sample/model-qwen", "--captions-zh").run().exits(Exit::Success);
        dir
    })
}

/// A search whose page has pictures of the sample.
fn search(dir: &Dir, file: &str, model: &str) -> Run {
    let run = dir.hyperslab(["search", "--device", "cpu", "--html", "page.html", "--renders"]);
    let run = run.arg(repository("sample/renders")).arg(made().join(file));
    if model.is_empty() { run } else { run.arg("--model").arg(repository(model)) }
}

fn page(dir: &Dir) -> String {
    fs::read_to_string(dir.join("page.html")).unwrap()
}

/// What is searched for in the files of both families: how many pictures there are then.
#[test]
fn hits_have_the_pictures_of_their_views_or_the_first_ones() {
    for (file, model, pictures) in [
        ("siglip_image_embeddings.h5", "sample/model", 6),
        ("siglip_text_embeddings.h5", "sample/model", 24),
        ("qwen_image_embeddings.h5", "sample/model-qwen", 24),
        ("qwen_text_embeddings.h5", "sample/model-qwen", 24),
    ] {
        let dir = Dir::new();
        let run = search(&dir, file, model).args("-k 3 --text");
        let run = run.arg("会发光的蓝色机器人").args("--text lighthouse --captions");
        let outcome = run.arg(repository("sample/captions.json")).run().exits(Exit::Success);
        assert!(!outcome.stderr.contains("through all of"), "{outcome}");
        assert!(outcome.stdout.contains("会发光的蓝色机器人"), "the table is printed as well: {outcome}");
        let page = page(&dir);
        assert_eq!(page.matches("<img ").count(), pictures, "{file}");
        assert_eq!((page.matches("<section").count(), page.matches("<li>").count()), (2, 6), "{file}");
        assert!(page.contains("会发光的蓝色机器人") && page.contains("lighthouse"), "{file}");
        assert!(page.contains("A red and white striped lighthouse"), "{file}: captions");
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("<script"), "{file}");
    }
}

#[test]
fn views_that_cannot_be_the_rows_are_not_shown() {
    let dir = Dir::new();
    let run = || search(&dir, "siglip_image_embeddings.h5", "").args("-k 2 --id 0/10002");
    run().args("--views 4").run().exits(Exit::Success).says("2 assets shown without pictures");
    assert_eq!(page(&dir).matches("no picture").count(), 2);
    run().set("--renders", dir.join("none")).run().exits(Exit::Usage).says("is not a folder");
    let elsewhere = dir.write("renders/x/0.png", "").parent().unwrap().parent().unwrap().to_owned();
    let outcome = run().set("--renders", elsewhere).run().exits(Exit::Success);
    outcome.says("views of 2 assets through all of");
    // The file that is searched is nothing to write to.
    let own = made().join("siglip_image_embeddings.h5");
    run().set("--html", &own).run().exits(Exit::Failure).says("would replace");
    assert_eq!(crate::util::names(dir.path()), ["page.html", "renders"]);
}

/// Colours of the views of three assets, and ids that are more than text where they are not escaped.
const COLOURS: [(&str, [[u8; 3]; 2]); 3] = [
    ("red", [[200, 16, 46], [120, 8, 200]]),
    ("<img src=x onerror=alert(1)>", [[0, 122, 61], [250, 130, 4]]),
    ("\"'&amp;<script>alert(1)<", [[12, 64, 168], [3, 180, 190]]),
];

/// The page of a search in pictures of one colour each, for a view of each asset; and which colours it shows.
fn colours(dir: &Dir) -> (String, Vec<[u8; 3]>) {
    let mut captions = BTreeMap::new();
    for (id, colours) in COLOURS {
        for (view, colour) in colours.into_iter().enumerate() {
            let path = dir.write(&format!("renders/{id}/{view}.png"), "");
            RgbImage::from_pixel(300, 300, Pixel(colour)).save(path).unwrap();
        }
        captions.insert(id, format!("</p></li></style>{id}, 一个立方体"));
    }
    dir.write("captions.json", serde_json::to_vec(&captions).unwrap());
    let job = dir.hyperslab(["embed", "siglip", "--device", "cpu", "--renders", "renders", "--model"]);
    job.arg(repository("sample/model")).run().exits(Exit::Success);
    let run = dir.hyperslab([
        "search",
        "siglip_image_embeddings.h5",
        "--html",
        "page.html",
        "--renders",
        "renders",
    ]);
    let run = run.args("-k 1 --captions captions.json --json");
    let run = COLOURS.iter().fold(run, |run, (id, _)| run.arg("--id").arg(format!("{id}#1")));
    run.run().exits(Exit::Success);
    (page(dir), COLOURS.map(|(_, colours)| colours[1]).to_vec())
}

/// Debian's Chromium; nothing where there is none, or none that starts: Ubuntu's is a snap.
fn chromium() -> Option<Command> {
    let there =
        Command::new("chromium").arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("skipped: there is no chromium here that starts");
        return None;
    }
    let mut command = Command::new("timeout");
    command.args(["120", "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]);
    command.args(["--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb"]);
    Some(command)
}

/// The page as it is shown in a window of this size, or nothing without a browser.
fn screenshot(dir: &Dir, page: &Path, dark: bool, (width, height): (u32, u32)) -> Option<Rgb> {
    let mut browser = chromium()?;
    let shot = dir.join(format!("{width}-{dark}.png"));
    let profile = dir.join("profile");
    // 0 is dark, 1 is light, in its own count.
    browser.arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)));
    browser
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--screenshot={}", shot.display()));
    browser.arg(format!("--window-size={width},{height}")).arg(format!("file://{}", page.display()));
    let output = browser.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && shot.exists(), "no screenshot: {told}");
    Some(decode(&fs::read(shot).unwrap(), Background::Drop).unwrap())
}

/// How many pixels have each colour.
fn histogram(picture: &Rgb) -> BTreeMap<[u8; 3], usize> {
    let mut found = BTreeMap::new();
    picture.data.as_chunks::<3>().0.iter().for_each(|pixel| *found.entry(*pixel).or_default() += 1);
    found
}

#[test]
fn a_browser_shows_the_views_that_matched() {
    let dir = Dir::new();
    let (html, shown) = colours(&dir);
    // Three hits, and what was searched with beside them.
    assert_eq!(html.matches("<img ").count(), 6);
    let page = dir.join("page.html");
    for size in [(1280, 1500), (400, 2000)] {
        let Some(picture) = screenshot(&dir, &page, false, size) else { return };
        let pixels = histogram(&picture);
        for (_, colours) in COLOURS {
            for colour in colours {
                let n = pixels.get(&colour).copied().unwrap_or_default();
                // Of 300 pixels a side, about 180 are left, and where there is little room 150.
                assert!(
                    if shown.contains(&colour) { n > 20_000 } else { n == 0 },
                    "{colour:?} at {size:?}: {n}"
                );
            }
        }
        assert!(pixels.contains_key(&[246, 246, 243]), "the light page's own colour at {size:?}");
    }
    let dark = histogram(&screenshot(&dir, &page, true, (1280, 1500)).unwrap());
    assert!(dark.contains_key(&[19, 20, 23]) && !dark.contains_key(&[246, 246, 243]), "no dark page");
}

#[test]
fn text_stays_text_in_a_browser() {
    let dir = Dir::new();
    colours(&dir);
    let Some(mut browser) = chromium() else { return };
    browser.arg(format!("--user-data-dir={}", dir.join("profile").display())).arg("--dump-dom");
    let output = browser.arg(format!("file://{}", dir.join("page.html").display())).output().unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    // What the browser read is what was meant: as many elements, and none that an id or a caption would make.
    for (element, n) in [("<section", 3), ("<li>", 3), ("<img ", 6), ("<script", 0), ("onerror=\"", 0)] {
        assert_eq!(dom.matches(element).count(), n, "{element}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(dom.contains("&lt;img src=x onerror=alert(1)&gt;"), "the id as text");
    assert!(dom.contains("一个立方体"));
}

#[test]
fn the_samples_page_is_rendered() {
    let dir = Dir::new();
    let run = search(&dir, "siglip_image_embeddings.h5", "sample/model").args("-k 6 --text");
    run.arg("a red toy automobile").run().exits(Exit::Success);
    let Some(picture) = screenshot(&dir, &dir.join("page.html"), false, (1280, 900)) else { return };
    assert_eq!((picture.width, picture.height), (1280, 900));
    let pixels = histogram(&picture);
    let own = pixels.values().max().copied().unwrap_or_default();
    // Pictures of things have thousands of colours, a page without them a few shades of its letters.
    assert!(pixels.len() > 2_000 && own < 1280 * 900 * 9 / 10, "{} colours", pixels.len());
}
