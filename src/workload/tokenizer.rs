//! A model's own tokenizer, for exact prompt lengths and for counting answers.

use std::path::{Path, PathBuf};

/// Why a tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file cannot be read.
    #[error("cannot read the tokenizer `{}`: {source}\nhint: download the model's `tokenizer.json` and name its path", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no Hugging Face tokenizer.
    #[error("`{}` is no Hugging Face `tokenizer.json`: {reason}\nhint: `tokenizer_config.json`, `vocab.json` and `tokenizer.model` are other formats", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// This build cannot read tokenizers.
    #[error("`{}` needs the cargo feature `tokenizer`, which this build lacks\nhint: leave `tokenizer_file` out, or build with `--features tokenizer`", path.display())]
    Feature {
        /// Which file.
        path: PathBuf,
    },
}

#[cfg(feature = "tokenizer")]
type Inner = std::sync::Arc<tokenizers::Tokenizer>;
/// Without the feature no value of [`Tokenizer`] can exist.
#[cfg(not(feature = "tokenizer"))]
type Inner = std::convert::Infallible;

/// A model's tokenizer. Cheap to clone.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Inner,
}

impl std::fmt::Debug for Tokenizer {
    /// Without the vocabulary, which is megabytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").finish_non_exhaustive()
    }
}

#[cfg(feature = "tokenizer")]
impl Tokenizer {
    /// Reads a Hugging Face `tokenizer.json`. Its truncation and padding are switched off: we count
    /// what there is.
    ///
    /// # Errors
    /// When the file cannot be read, is none, or cannot encode every text.
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        let bytes = std::fs::read(path).map_err(|source| TokenizerError::Read {
            path: path.to_owned(),
            source,
        })?;
        let format_error = |error: tokenizers::Error| TokenizerError::Format {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(format_error)?;
        inner.with_truncation(None).map_err(format_error)?;
        inner.with_padding(None);
        // A vocabulary without an "unknown" entry fails on text that it does not cover: better
        // here than in a run.
        inner
            .encode_fast(UNUSUAL_TEXT, false)
            .map_err(format_error)?;
        Ok(Self {
            inner: std::sync::Arc::new(inner),
        })
    }

    /// How many tokens the model makes of the text, special tokens not counted.
    pub fn count(&self, text: &str) -> usize {
        // `load` has made sure that encoding cannot fail.
        self.inner
            .encode_fast(text, false)
            .map_or(0, |encoding| encoding.len())
    }
}

/// Nothing that a vocabulary would list: a private-use character, an emoji, an unassigned one.
#[cfg(feature = "tokenizer")]
const UNUSUAL_TEXT: &str = "a \u{e000} \u{1f9ff}\u{e0fff}\n";

#[cfg(not(feature = "tokenizer"))]
impl Tokenizer {
    /// Refuses: this build lacks the feature `tokenizer`.
    ///
    /// # Errors
    /// Always.
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        Err(TokenizerError::Feature {
            path: path.to_owned(),
        })
    }

    /// Never called: [`Self::load`] makes no value.
    pub fn count(&self, _text: &str) -> usize {
        match self.inner {}
    }
}

/// Small tokenizers for tests: one token a word, and one a letter.
#[cfg(test)]
#[cfg(feature = "tokenizer")]
pub(super) mod fixtures {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A file that goes when it is dropped.
    pub(crate) struct File(PathBuf);

    impl File {
        pub(crate) fn new(content: &str) -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("sonde-tokenizer-{}-{number}.json", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, content).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    /// Each word and each punctuation mark is a token. Truncates at 512, as many files do.
    pub(crate) fn words() -> File {
        let model =
            serde_json::json!({"type": "WordLevel", "vocab": {"<unk>": 0}, "unk_token": "<unk>"});
        file(&model)
    }

    /// Each letter is a token.
    pub(crate) fn letters() -> File {
        let mut vocabulary = serde_json::Map::new();
        vocabulary.insert("<unk>".to_owned(), 0.into());
        for letter in (b'!'..=b'~').map(char::from) {
            vocabulary.insert(letter.to_string(), vocabulary.len().into());
        }
        let model = serde_json::json!({"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "<unk>"});
        file(&model)
    }

    fn file(model: &serde_json::Value) -> File {
        let truncation = serde_json::json!({
            "direction": "Right", "max_length": 512, "strategy": "LongestFirst", "stride": 0,
        });
        let content = serde_json::json!({
            "version": "1.0", "truncation": truncation, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null, "model": model,
        });
        File::new(&content.to_string())
    }
}

#[cfg(test)]
#[cfg(feature = "tokenizer")]
mod tests {
    use super::*;

    #[test]
    fn a_text_longer_than_the_truncation_is_counted_to_its_end() {
        let tokenizer = Tokenizer::load(fixtures::words().path()).unwrap();
        assert_eq!(tokenizer.count("One, two."), 4);
        assert_eq!(tokenizer.count(&"word ".repeat(3000)), 3000);
        assert_eq!(tokenizer.count(""), 0);
    }

    #[test]
    fn a_file_that_is_missing_or_something_else_is_refused_with_its_path() {
        let message = Tokenizer::load(Path::new("/nowhere/tokenizer.json"))
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("cannot read the tokenizer `/nowhere/tokenizer.json`: "),
            "{message}"
        );
        let file = fixtures::File::new("{\"model_type\": \"gemma\"}");
        let message = Tokenizer::load(file.path()).unwrap_err().to_string();
        let path = file.path().display();
        assert!(
            message.starts_with(&format!("`{path}` is no Hugging Face `tokenizer.json`: ")),
            "{message}"
        );
        assert!(message.contains("\nhint: "), "{message}");
    }

    #[test]
    fn a_vocabulary_that_cannot_encode_every_text_is_refused() {
        let content = std::fs::read_to_string(fixtures::words().path()).unwrap();
        let file =
            fixtures::File::new(&content.replace("\"vocab\":{\"<unk>\":0}", "\"vocab\":{\"a\":0}"));
        assert!(matches!(
            Tokenizer::load(file.path()),
            Err(TokenizerError::Format { .. })
        ));
    }
}

#[cfg(test)]
#[cfg(not(feature = "tokenizer"))]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_the_feature_says_so() {
        let message = Tokenizer::load(Path::new("tokenizer.json"))
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("needs the cargo feature `tokenizer`"),
            "{message}"
        );
    }
}
