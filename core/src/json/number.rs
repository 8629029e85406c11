//! Numbers as JSON writes them (RFC 8259, section 6), taken apart without floating point.

/// `whole.fraction × 10^power`
pub(crate) struct Decimal<'a> {
    pub(crate) whole: &'a [u8],
    pub(crate) fraction: &'a [u8],
    pub(crate) power: i32,
}

impl<'a> Decimal<'a> {
    /// A number of JSON that is not negative.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        let (whole, rest) = split_digits(text);
        if whole.is_empty() || (whole.len() > 1 && whole.starts_with(b"0")) {
            return None;
        }
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => {
                let (fraction, rest) = split_digits(rest);
                (!fraction.is_empty()).then_some((fraction, rest))?
            }
            _ => (&[][..], rest),
        };
        let power = match rest {
            [] => 0,
            [b'e' | b'E', b'-', power @ ..] => -parse_power(power)?,
            [b'e' | b'E', b'+', power @ ..] | [b'e' | b'E', power @ ..] => parse_power(power)?,
            _ => return None,
        };
        Some(Decimal {
            whole,
            fraction,
            power,
        })
    }
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.split_at_checked(length).unwrap_or((text, &[]))
}

/// The digits of an exponent; far out of any range it is cut to 10⁶.
fn parse_power(text: &[u8]) -> Option<i32> {
    let (digits, rest) = split_digits(text);
    if digits.is_empty() || !rest.is_empty() {
        return None;
    }
    Some(digits.iter().fold(0, |power, digit| {
        (power * 10 + i32::from(digit - b'0')).min(1_000_000)
    }))
}
