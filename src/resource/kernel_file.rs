//! Small text files that the kernel writes for us.

use super::SampleError;
use std::io::ErrorKind;
use std::path::Path;

/// `EOPNOTSUPP`: what pressure files say where the kernel was started without it.
const NOT_SUPPORTED: i32 = 95;

/// The whole text; `None` when there is no such file or the kernel has what it tells of switched off,
/// which the caller may find normal. Names in these files need not be UTF-8.
///
/// # Errors
/// [`SampleError::Failed`] when the file is there and cannot be read.
pub(super) fn read(path: &Path) -> Result<Option<String>, SampleError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) if error.raw_os_error() == Some(NOT_SUPPORTED) => Ok(None),
        Err(error) => Err(SampleError::Failed(format!(
            "cannot read `{}`: {error}",
            path.display()
        ))),
    }
}

/// A file that is one number; `None` when there is no such file.
///
/// # Errors
/// [`SampleError::Failed`] when it cannot be read or is no number.
pub(super) fn read_number(path: &Path) -> Result<Option<f64>, SampleError> {
    let Some(text) = read(path)? else {
        return Ok(None);
    };
    match text.trim().parse() {
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(malformed(path, "it is not a number")),
    }
}

/// The number behind `key` in lines of `key value …`; a colon at the key's end is not part of it.
pub(super) fn keyed(text: &str, key: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let found = words.next()?.trim_end_matches(':');
        (found == key).then(|| words.next()?.parse().ok())?
    })
}

/// A file that is not what it should be.
pub(super) fn malformed(path: &Path, what: &str) -> SampleError {
    SampleError::Failed(format!("cannot make sense of `{}`: {what}", path.display()))
}
