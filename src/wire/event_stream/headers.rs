//! The headers of a message. All are checked; kept are the texts that say what the message is.

/// Why a header cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// Its name or value is longer than what is left of the headers.
    #[error("that is longer than the headers are")]
    Overlong,
    /// Its value is of a type that the specification does not have.
    #[error("whose value has the type {0}, which is none of 0 to 9")]
    UnknownType(u8),
    /// Its name, or the text that is its value, is not UTF-8.
    #[error("that is not UTF-8")]
    NotText,
}

/// What a message says about itself. Where a header comes twice, the last counts, as in Amazon's own client.
#[derive(Default)]
pub(super) struct Headers<'a> {
    pub(super) message_type: Option<&'a str>,
    pub(super) event_type: Option<&'a str>,
    pub(super) exception_type: Option<&'a str>,
    pub(super) error_code: Option<&'a str>,
    pub(super) error_message: Option<&'a str>,
}

impl<'a> Headers<'a> {
    /// Reads all that `bytes` hold. An error says at which of them the header begins.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, (usize, HeaderFault)> {
        let mut headers = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = bytes.len().saturating_sub(rest.len());
            let (name, text) = header(&mut rest).map_err(|fault| (at, fault))?;
            let slot = match name {
                ":message-type" => &mut headers.message_type,
                ":event-type" => &mut headers.event_type,
                ":exception-type" => &mut headers.exception_type,
                ":error-code" => &mut headers.error_code,
                ":error-message" => &mut headers.error_message,
                _ => continue,
            };
            *slot = text;
        }
        Ok(headers)
    }
}

/// Takes a header off `rest`: its name, and its value where that is a text.
fn header<'a>(rest: &mut &'a [u8]) -> Result<(&'a str, Option<&'a str>), HeaderFault> {
    let [name_len] = *take_array(rest)?;
    let name = text(take(rest, usize::from(name_len))?)?;
    let [kind] = *take_array(rest)?;
    let fixed = match kind {
        // True and false are types, without a value.
        0 | 1 => 0,
        // Integers of 8, 16, 32 and 64 bits.
        2 => 1,
        3 => 2,
        4 => 4,
        5 => 8,
        // Bytes, and text.
        6 | 7 => {
            let len = u16::from_be_bytes(*take_array(rest)?);
            let value = take(rest, usize::from(len))?;
            let value = (kind == 7).then(|| text(value)).transpose()?;
            return Ok((name, value));
        }
        // Milliseconds since the Unix epoch.
        8 => 8,
        // A UUID.
        9 => 16,
        unknown => return Err(HeaderFault::UnknownType(unknown)),
    };
    take(rest, fixed)?;
    Ok((name, None))
}

fn text(bytes: &[u8]) -> Result<&str, HeaderFault> {
    std::str::from_utf8(bytes).map_err(|_| HeaderFault::NotText)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], HeaderFault> {
    rest.split_off(..len).ok_or(HeaderFault::Overlong)
}

fn take_array<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], HeaderFault> {
    let (taken, behind) = rest.split_first_chunk().ok_or(HeaderFault::Overlong)?;
    *rest = behind;
    Ok(taken)
}
