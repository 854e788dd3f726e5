//! What a run costs, by the token counts of its answer.

use super::tokens::Usage;
use serde::Serialize;
use std::str::FromStr;

/// Tokens that a [`Rate`] is the price of.
const TOKENS_PER_RATE: f64 = 1e6;

/// USD per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(f64);

/// Why something is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// Below 0.
    #[error("is below 0")]
    Negative,
    /// Not a number, or infinite.
    #[error("is not a finite number")]
    NotFinite,
    /// Not two or three numbers.
    #[error("is not `INPUT,OUTPUT` or `INPUT,OUTPUT,CACHED`, in USD per million tokens")]
    Form,
}

impl Rate {
    /// So many USD per million tokens.
    ///
    /// # Errors
    /// When the number is negative, infinite or none.
    pub fn per_million(usd: f64) -> Result<Self, PriceError> {
        match usd {
            usd if !usd.is_finite() => Err(PriceError::NotFinite),
            usd if usd < 0.0 => Err(PriceError::Negative),
            usd => Ok(Self(usd)),
        }
    }

    fn of(self, tokens: u64) -> f64 {
        tokens as f64 / TOKENS_PER_RATE * self.0
    }
}

/// What a target's tokens cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// Tokens of the prompt.
    pub input: Rate,
    /// Tokens of the answer, reasoning included.
    pub output: Rate,
    /// Tokens of the prompt that came from a cache; absent: as `input`.
    pub cached_input: Option<Rate>,
}

impl FromStr for Price {
    type Err = PriceError;

    /// `0.15,0.60` or, with the price of cached input, `0.15,0.60,0.075`.
    fn from_str(text: &str) -> Result<Self, PriceError> {
        let rate = |text: &str| {
            let usd = text.trim().parse().map_err(|_| PriceError::Form)?;
            Rate::per_million(usd)
        };
        let rates: Vec<_> = text.split(',').map(rate).collect::<Result<_, _>>()?;
        let (input, output, cached_input) = match *rates {
            [input, output] => (input, output, None),
            [input, output, cached] => (input, output, Some(cached)),
            _ => return Err(PriceError::Form),
        };
        Ok(Self {
            input,
            output,
            cached_input,
        })
    }
}

/// USD, by what they were spent on. Parts whose tokens nobody counted are absent. Each token is in
/// one part only: unlike in [`Usage`], input is without what was cached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Tokens of the prompt that were computed.
    pub input: Option<f64>,
    /// Tokens of the prompt that came from a cache.
    pub cached: Option<f64>,
    /// Tokens of the answer, reasoning included.
    pub output: Option<f64>,
    /// The parts that are known together.
    pub total: f64,
}

impl Price {
    /// As exact as the counts are.
    pub fn cost(&self, usage: &Usage) -> Cost {
        let computed = usage
            .input
            .map(|input| input.saturating_sub(usage.cached.unwrap_or(0)));
        let input = computed.map(|tokens| self.input.of(tokens));
        let cached_input = self.cached_input.unwrap_or(self.input);
        let cached = usage.cached.map(|tokens| cached_input.of(tokens));
        let output = usage.output.map(|tokens| self.output.of(tokens));
        Cost {
            input,
            cached,
            output,
            total: [input, cached, output].into_iter().flatten().sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: Option<u64>, cached: Option<u64>) -> Usage {
        Usage {
            input,
            cached,
            output: Some(500_000),
            reasoning: Some(400_000),
        }
    }

    #[test]
    fn every_token_is_paid_once_and_a_cached_one_at_its_own_price() {
        let price: Price = "2, 8, 0.5".parse().unwrap();
        let cost = price.cost(&usage(Some(1_000_000), Some(400_000)));
        assert_eq!(
            (cost.input, cost.cached, cost.output),
            (Some(1.2), Some(0.2), Some(4.0))
        );
        assert!((cost.total - 5.4).abs() < 1e-12);
    }

    #[test]
    fn without_a_price_of_its_own_a_cached_token_costs_what_others_do() {
        let price: Price = "2,8".parse().unwrap();
        let cost = price.cost(&usage(Some(1_000_000), Some(400_000)));
        assert!((cost.total - 6.0).abs() < 1e-12);
    }

    #[test]
    fn what_nobody_counted_is_absent_and_not_free() {
        let price: Price = "2,8".parse().unwrap();
        let cost = price.cost(&usage(None, None));
        assert_eq!((cost.input, cost.cached, cost.total), (None, None, 4.0));
    }

    #[test]
    fn a_price_is_finite_and_not_negative() {
        for (text, error) in [
            ("-1,2", PriceError::Negative),
            ("1,NaN", PriceError::NotFinite),
            ("1,2,inf", PriceError::NotFinite),
            ("1", PriceError::Form),
            ("1,2,3,4", PriceError::Form),
            ("1,two", PriceError::Form),
        ] {
            assert_eq!(text.parse::<Price>(), Err(error), "{text}");
        }
    }
}
