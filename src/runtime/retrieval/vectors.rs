//! Vectors, read without keeping a number of them: a batch of them is megabytes of JSON.

use crate::measure::delta::Fault;
use crate::measure::items::Items;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use std::fmt;

/// What is known of a vector that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vector {
    dimensions: usize,
    zero: bool,
    finite: bool,
}

impl Vector {
    const NONE: Self = Self {
        dimensions: 0,
        zero: true,
        finite: true,
    };

    fn push(&mut self, number: f64) {
        self.dimensions += 1;
        self.zero &= number == 0.0;
        self.finite &= number.is_finite();
    }
}

/// A list of numbers, or the base64 of little-endian 32-bit ones.
impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VectorVisitor;
        impl<'de> Visitor<'de> for VectorVisitor {
            type Value = Vector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vector, A::Error> {
                let mut vector = Vector::NONE;
                while let Some(Number(number)) = list.next_element()? {
                    vector.push(number);
                }
                Ok(vector)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Vector, E> {
                let bytes = STANDARD.decode(text).map_err(E::custom)?;
                let (numbers, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(E::custom("a vector in base64 is not of 32-bit numbers"));
                }
                let mut vector = Vector::NONE;
                for number in numbers {
                    vector.push(f32::from_le_bytes(*number).into());
                }
                Ok(vector)
            }
        }
        deserializer.deserialize_any(VectorVisitor)
    }
}

/// One of a vector's.
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl<'de> Visitor<'de> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
                Ok(Number(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number(number as f64))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
                Ok(Number(number as f64))
            }

            /// What some writers of JSON make of NaN.
            fn visit_unit<E: Error>(self) -> Result<Number, E> {
                Ok(Number(f64::NAN))
            }

            /// As llama.cpp answers where nothing makes one vector of those of the tokens.
            fn visit_seq<A: SeqAccess<'de>>(self, _list: A) -> Result<Number, A::Error> {
                Err(A::Error::custom(
                    "a vector for each token instead of one for the text: the server does not pool",
                ))
            }
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

/// What these vectors come to, or what is wrong with them.
pub(super) fn items(vectors: impl IntoIterator<Item = Vector>) -> Result<Items, Fault> {
    let mut items = Items::default();
    for (at, vector) in vectors.into_iter().enumerate() {
        let found = vector.dimensions;
        let first = *items.dimensions.get_or_insert(found);
        let complaint = if found == 0 {
            format!("vector {at} has no number")
        } else if found != first {
            format!("vector {at} has {found} dimensions, the first has {first}")
        } else if !vector.finite {
            format!("vector {at} has a number that is not finite")
        } else {
            items.count += 1;
            if vector.zero {
                items.zero.get_or_insert(at);
            }
            continue;
        };
        return Err(Fault::Malformed(complaint));
    }
    Ok(items)
}

/// Complains of places that are out of range or taken. Absent ones are not looked at.
pub(super) fn check_places(
    places: impl Iterator<Item = Option<u64>>,
    most: usize,
) -> Result<(), String> {
    let mut taken = vec![false; most];
    for place in places.flatten() {
        let slot = usize::try_from(place).ok().and_then(|at| taken.get_mut(at));
        match slot {
            None => return Err(format!("index {place} is none of {most}")),
            Some(true) => return Err(format!("index {place} is there twice")),
            Some(slot) => *slot = true,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Items, String> {
        let vectors: Vec<Vector> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        items(vectors).map_err(|fault| match fault {
            Fault::Malformed(complaint) | Fault::InBand(complaint) => complaint,
        })
    }

    #[test]
    fn both_forms_of_a_vector_are_the_same() {
        // 0.5, -1 and 2, as 32-bit numbers.
        let encoded = STANDARD.encode([0.5_f32, -1.0, 2.0].map(f32::to_le_bytes).as_flattened());
        let wanted = Items {
            count: 2,
            dimensions: Some(3),
            zero: None,
        };
        assert_eq!(read("[[0.5,-1,2e0],[1,0,0]]"), Ok(wanted));
        assert_eq!(read(&format!("[{encoded:?},{encoded:?}]"),), Ok(wanted));
    }

    #[test]
    fn vectors_that_cannot_be_used_are_told_by_their_place() {
        let nan = STANDARD.encode(f32::NAN.to_le_bytes());
        for (text, complaint) in [
            (
                "[[1,2],[1]]".to_owned(),
                "vector 1 has 1 dimensions, the first has 2",
            ),
            ("[[]]".to_owned(), "vector 0 has no number"),
            (
                "[[1],[null]]".to_owned(),
                "vector 1 has a number that is not finite",
            ),
            (
                format!("[{nan:?}]"),
                "vector 0 has a number that is not finite",
            ),
            (
                r#"["AAAA"]"#.to_owned(),
                "a vector in base64 is not of 32-bit numbers",
            ),
        ] {
            let found = read(&text).unwrap_err();
            assert!(found.starts_with(complaint), "{text}: {found}");
        }
        assert!(read("[[1e999]]").is_err() && read("[[NaN]]").is_err());
        assert_eq!(read("[[1,0],[0,-0.0]]").unwrap().zero, Some(1));
    }

    #[test]
    fn places_are_in_range_and_taken_once() {
        let check = |places: &[u64], most| {
            let places = places.iter().map(|place| Some(*place));
            check_places(places, most)
        };
        assert_eq!(check(&[2, 0, 1], 3), Ok(()));
        assert_eq!(check(&[0, 0], 2).unwrap_err(), "index 0 is there twice");
        assert_eq!(check(&[2], 2).unwrap_err(), "index 2 is none of 2");
    }
}
