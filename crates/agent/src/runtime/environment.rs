//! Files of environment variables.
//!
//! A definition names an object of S3, `arn:…:s3:::BUCKET/KEY`. There is no S3 here
//! yet: the object is the file `BUCKET/KEY` below a directory of the agent.

use super::Error;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// No file of variables is longer than this.
const LONGEST: u64 = 1 << 20;

/// The variables of a container's files. Of two files that have one the first counts, and
/// within a file the last line, as with the official agent.
pub(super) fn read(root: &Path, files: &[String]) -> Result<BTreeMap<String, String>, Error> {
    let mut all = BTreeMap::new();
    for file in files {
        let failed = |what: &str| Error::NoVariables(format!("{file}: {what}"));
        let path = place(root, file).ok_or_else(|| failed("not the name of a file"))?;
        let size = fs::metadata(&path).map_err(|error| failed(&error.to_string()))?.len();
        if size > LONGEST {
            return Err(failed("too long"));
        }
        let text = fs::read_to_string(&path).map_err(|error| failed(&error.to_string()))?;
        let own: BTreeMap<&str, &str> = variables(&text).collect();
        for (name, value) in own {
            all.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    Ok(all)
}

fn place(root: &Path, arn: &str) -> Option<PathBuf> {
    let (_, object) = arn.split_once(":s3:::")?;
    let relative = Path::new(object);
    let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
    (inside && !object.is_empty()).then(|| root.join(relative))
}

/// `NAME=VALUE` on each line, just as they are; a line that begins with `#`, or has no
/// name or no value, is none.
fn variables(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.filter(|(name, value)| !name.is_empty() && !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_variables() {
        let text = "# a comment\nA=1\n\nB=x=y # all of it\nnothing\n=z\nC=\n D= \nA=2\n";
        let found: Vec<_> = variables(text).collect();
        assert_eq!(found, [("A", "1"), ("B", "x=y # all of it"), (" D", " "), ("A", "2")]);
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join("b")).expect("made");
        fs::write(root.path().join("b/one.env"), text).expect("written");
        fs::write(root.path().join("b/two.env"), "A=3\nC=3\n").expect("written");
        let files = ["one", "two"].map(|name| format!("arn:aws:s3:::b/{name}.env"));
        let all = read(root.path(), &files).expect("there");
        assert_eq!((all["A"].as_str(), all["C"].as_str()), ("2", "3"));
    }

    #[test]
    fn objects_are_files_below_one_directory() {
        let place = |arn: &str| place(Path::new("/s3"), arn);
        assert_eq!(place("arn:aws:s3:::b/k/x.env"), Some(PathBuf::from("/s3/b/k/x.env")));
        for arn in ["arn:aws:s3:::b/../../etc/x.env", "arn:aws:s3:::", "/etc/x.env"] {
            assert_eq!(place(arn), None, "{arn}");
        }
    }
}
