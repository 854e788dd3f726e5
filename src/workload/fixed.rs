//! A prompt that the user wrote.

use super::{
    CachePolicy, Calibration, Prompt, Workload, WorkloadError, WorkloadSettings, WorkloadSpec,
    nonce,
};
use std::sync::Arc;

/// See [`FixedWorkload`].
pub(super) const SPEC: WorkloadSpec = WorkloadSpec {
    name: "fixed",
    summary: "the same prompt in every run, word for word",
    keys: &["prompt"],
    build: |settings| Ok(Arc::new(FixedWorkload::new(settings)?)),
};

/// Sends the user's own prompt. Warm, it is sent as it stands; cold, the nonce of the run goes in
/// front of the system message, or of the prompt where there is none.
#[derive(Debug)]
pub struct FixedWorkload {
    cache: CachePolicy,
    system: Option<Arc<str>>,
    prompt: String,
}

impl FixedWorkload {
    /// Takes `prompt`, `system` and `cache`.
    ///
    /// # Errors
    /// Without a prompt, or with a blank one.
    pub fn new(settings: &WorkloadSettings) -> Result<Self, WorkloadError> {
        let prompt = settings
            .prompt
            .clone()
            .ok_or(WorkloadError::Missing { key: "prompt" })?;
        if prompt.trim().is_empty() {
            return Err(WorkloadError::Range {
                key: "prompt",
                rule: "more than blanks",
            });
        }
        Ok(Self {
            cache: settings.cache,
            system: settings.system.as_deref().map(Arc::from),
            prompt,
        })
    }
}

impl Workload for FixedWorkload {
    fn next(&self, seed: u64, _calibration: &Calibration) -> Prompt {
        let prompt = Prompt {
            system: self.system.clone(),
            user: self.prompt.clone(),
            generated_words: None,
        };
        match self.cache {
            CachePolicy::Cold => nonce::put_in_front(prompt, seed),
            CachePolicy::Warm => prompt,
        }
    }

    /// The prompt, without the system message.
    fn text(&self, seed: u64, index: u32, _calibration: &Calibration) -> Prompt {
        let prompt = Prompt {
            system: None,
            user: self.prompt.clone(),
            generated_words: None,
        };
        match self.cache {
            CachePolicy::Cold => nonce::put_in_front(prompt, nonce::of_text(seed, index)),
            CachePolicy::Warm => prompt,
        }
    }

    /// The prompt again.
    fn query(&self, seed: u64) -> Prompt {
        self.text(seed, u32::MAX, &Calibration::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(cache: CachePolicy, system: Option<&str>) -> WorkloadSettings {
        WorkloadSettings {
            kind: "fixed".to_owned(),
            cache,
            system: system.map(str::to_owned),
            prompt: Some("Say hello.".to_owned()),
            input_tokens: None,
            tokenizer_file: None,
        }
    }

    #[test]
    fn a_warm_prompt_is_what_the_user_wrote() {
        let workload = FixedWorkload::new(&settings(CachePolicy::Warm, Some("Be brief."))).unwrap();
        let prompt = workload.next(1, &Calibration::default());
        assert_eq!(prompt.user, "Say hello.");
        assert_eq!(prompt.system.as_deref(), Some("Be brief."));
        assert_eq!(prompt, workload.next(2, &Calibration::default()));
    }

    #[test]
    fn a_cold_prompt_has_its_nonce_before_everything_else() {
        let bare = FixedWorkload::new(&settings(CachePolicy::Cold, None)).unwrap();
        let user = bare.next(1, &Calibration::default()).user;
        assert!(
            user.ends_with("\nSay hello.") && user.len() == 16 + 1 + 10,
            "{user}"
        );

        let with_system =
            FixedWorkload::new(&settings(CachePolicy::Cold, Some("Be brief."))).unwrap();
        let prompt = with_system.next(1, &Calibration::default());
        assert_eq!(prompt.user, "Say hello.");
        assert!(prompt.system.unwrap().ends_with("\nBe brief."));
    }

    #[test]
    fn the_texts_of_a_request_are_the_prompt_each_with_its_own_nonce_when_cold() {
        let calibration = Calibration::default();
        let texts = |cache| {
            let workload = FixedWorkload::new(&settings(cache, None)).unwrap();
            workload.texts(1, 3, true, &calibration)
        };
        let warm = texts(CachePolicy::Warm);
        assert_eq!(warm.inputs, ["Say hello."; 3]);
        assert_eq!(warm.query.as_deref(), Some("Say hello."));
        let cold = texts(CachePolicy::Cold);
        let mut all = cold.inputs.clone();
        all.extend(cold.query);
        assert!(all.iter().all(|text| text.ends_with("\nSay hello.")));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_prompt_is_needed() {
        let mut settings = settings(CachePolicy::Warm, None);
        settings.prompt = Some(" \n".to_owned());
        let message = FixedWorkload::new(&settings).unwrap_err().to_string();
        assert_eq!(message, "`prompt` must be more than blanks");
        settings.prompt = None;
        let message = FixedWorkload::new(&settings).unwrap_err().to_string();
        assert_eq!(message, "`prompt` is required");
    }
}
