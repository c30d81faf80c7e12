//! Which pictures become views of which assets.

use hyperslab::input::Keep;
use hyperslab::input::views::{Layout, Part, Rule, read_list, walk};

use super::{Root, contents, rule};

const OBJAVERSE: [&str; 10] = [
    "0/10002/campos_512_v4/00000/00000.png",
    "0/10002/campos_512_v4/00000/00000_albedo.png",
    "0/10002/campos_512_v4/00000/00000_nd.exr",
    "0/10002/campos_512_v4/00001/00001.png",
    "0/10002/campos_512_v4/00001/00001_albedo.png",
    "0/10002/campos_512_v4/00001/00001.json",
    "0/10017/campos_512_v4/00000/00000.png",
    "0/10017/campos_512_v4/00000/00000_mr.png",
    "1/10002/campos_512_v4/00000/00000.png",
    "1/10002/campos_512_v4/00003/00003.png",
];

fn files(root: &Root, files: &[&str]) {
    for file in files {
        root.file(file);
    }
}

#[test]
fn g_objaverse_folders() {
    let root = Root::new();
    files(&root, &OBJAVERSE);
    let (found, odd) = root.find(&Rule::default());
    let views = |asset: &str, views: &[u32]| {
        views.iter().map(|view| format!("{asset}/campos_512_v4/{view:05}/{view:05}.png")).collect::<Vec<_>>()
    };
    let expected = [("0/10002", vec![0, 1]), ("0/10017", vec![0]), ("1/10002", vec![0, 3])];
    let expected: Vec<_> = expected.iter().map(|(id, which)| (*id, views(id, which))).collect();
    assert_eq!(format!("{:?}", contents(&found)), format!("{expected:?}"));
    assert_eq!(odd.not_taken.0["*_albedo.png"].count, 2);
    assert_eq!(odd.not_taken.0["*_mr.png"].first, ["0/10017/campos_512_v4/00000/00000_mr.png"]);
    assert_eq!(odd.ignored.0["*.exr"].count + odd.ignored.0["*.json"].count, 2);
    assert!(odd.alarms().is_empty());
}

#[test]
fn the_old_pipelines_folders() {
    let root = Root::new();
    files(&root, &["3/44/00000/00000.png", "3/44/00001/7.jpg", "3/44/00001/8.jpg", "3/45/2/0.webp"]);
    let (found, odd) = root.find(&Rule::default());
    assert_eq!(
        contents(&found),
        [("3/44", vec!["3/44/00000/00000.png", "3/44/00001/7.jpg"]), ("3/45", vec!["3/45/2/0.webp"])]
    );
    assert_eq!(odd.further.first, ["3/44/00001/8.jpg"]);
    // The same folders as assets of their own.
    let (found, _) = root.find(&rule(Layout::Assets));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["3/44/00000", "3/44/00001", "3/45/2"]);
    // And others, as views, where auto would not.
    let named = Root::new();
    files(&named, &["a/b/front/0.png", "a/b/back/0.png", "top/0.png"]);
    let (found, odd) = named.find(&rule(Layout::Views));
    assert_eq!(contents(&found), [("a/b", vec!["a/b/back/0.png", "a/b/front/0.png"])]);
    assert_eq!(odd.outside_assets.first, ["top/0.png"]);
}

#[test]
fn cap3d_folders_and_globs() {
    let root = Root::new();
    let uid = "c1c9ae2f";
    for view in 0..3 {
        for name in ["", "_depth", "_MatAlpha"] {
            root.file(&format!("{uid}/{view:03}{name}.png"));
        }
        root.file(&format!("{uid}/{view:03}.json"));
    }
    let (found, odd) = root.find(&Rule::default());
    assert_eq!(contents(&found), [(uid, vec!["c1c9ae2f/000.png", "c1c9ae2f/001.png", "c1c9ae2f/002.png"])]);
    assert_eq!((odd.not_taken.0["*_depth.png"].count, odd.not_taken.0["*_MatAlpha.png"].count), (3, 3));
    let depth = Rule::new(Layout::Auto, &["*_depth.png".to_owned(), "*.jpg".to_owned()]).unwrap();
    let (found, odd) = root.find(&depth);
    assert_eq!(found[uid][2].0, "c1c9ae2f/002_depth.png");
    assert_eq!(odd.not_taken.0["*.png"].count, 3);
}

#[test]
fn pictures_of_which_none_is_taken_are_an_alarm() {
    let root = Root::new();
    files(&root, &["a/front.png", "a/back.png", "b/0.png"]);
    let (found, odd) = root.find(&Rule::default());
    assert_eq!(found.len(), 1);
    assert_eq!(odd.none_taken.first, ["a"]);
    assert!(odd.alarms()[0].0.contains("--view-glob"));
    assert!(root.list(&Rule::default(), 1).unwrap().refuse_pictures_alone().is_ok());
    let none = Root::new();
    files(&none, &["a/front.png"]);
    let error = none.list(&Rule::default(), 1).unwrap().refuse_pictures_alone().unwrap_err();
    assert!(
        error.message.contains("pictures found: 1 (front.png)") && error.message.contains("front.png"),
        "{error}"
    );
    assert!(error.hint.unwrap().contains("--view-glob"));
}

#[test]
fn a_list_finds_what_the_walk_finds() {
    let root = Root::new();
    files(&root, &OBJAVERSE);
    root.archive("gnu", "2/7.tar", &["7/campos_512_v4/00000/00000.png", "7/campos_512_v4/00001/00001.png"]);
    root.archive("deflated", "uid.zip", &["000.png", "001.png"]);
    let rule = Rule::default();
    let (walked, _) = root.find(&rule);
    let archives = ["2/7.tar", "uid.zip"];
    let lines: Vec<_> = OBJAVERSE.iter().chain(&archives).map(|path| format!("{path}\n")).collect();
    let list = root.folder.path().join("list.tsv");
    std::fs::write(&list, format!("\u{feff}{}", lines.concat())).unwrap();
    for ranks in [1, 3] {
        let (parts, mut listing) = read_list(&list, ranks, Keep::Everything, &rule).unwrap();
        assert_eq!(parts.iter().flat_map(Part::archives).collect::<Vec<_>>(), archives);
        for part in parts {
            listing.merge(walk(&root.path(), &part, Keep::Everything, &rule).unwrap());
        }
        let spool = root.spool(listing).unwrap();
        assert_eq!(root.read(&spool), walked);
    }
}
