//! What a column's name and type make it look like.

/// What a name can be of, by its words. The first that fits counts, so that `ip_address` is no address.
/// Words are compared whole; two of them stand beside each other.
#[rustfmt::skip]
const LIKENESSES: &[(&str, &[&str])] = &[
    ("card", &["card", "cardno", "cardnumber", "creditcard", "ccnumber", "cvv", "cvc", "pan", "cc number", "cc no"]),
    ("bank account", &["iban", "bic", "bban", "accountnumber", "account number", "account no", "bank account",
        "routing number", "sort code"]),
    ("password", &["password", "passwd", "pwd", "pass", "passphrase", "passcode", "pin", "pincode", "passwordhash"]),
    ("secret", &["secret", "secrets", "token", "tokens", "apikey", "api key", "private key", "privatekey", "access key",
        "secret key", "credential", "credentials", "otp", "totp", "jwt", "salt", "session key"]),
    ("network address", &["ip", "ipaddress", "ipaddr", "ip address", "ip addr", "inet addr", "mac address", "macaddr"]),
    ("e-mail", &["email", "emails", "mail", "emailaddress", "e mail", "mailaddress"]),
    ("phone", &["phone", "phones", "phonenumber", "mobile", "telephone", "tel", "cell", "cellphone", "fax", "msisdn",
        "whatsapp"]),
    ("national number", &["ssn", "socialsecurity", "social security", "nino", "sin", "bsn", "cpf", "curp", "aadhaar",
        "personnummer", "national id", "nationalid", "national number", "insurance number", "tin", "tax id", "taxid",
        "tax number", "vat id", "citizen id"]),
    ("passport or licence", &["passport", "passportno", "passportnumber", "driver license", "driver licence",
        "drivers license", "driving licence", "driving license", "licence number", "license number", "visa",
        "identity card", "id card"]),
    ("birth", &["birth", "birthday", "birthdate", "dateofbirth", "dob", "born", "yob"]),
    ("address", &["address", "addresses", "addr", "street", "zip", "zipcode", "postcode", "postal", "postalcode",
        "house number"]),
    ("place", &["latitude", "longitude", "lat", "lng", "lon", "geolocation", "gps"]),
    ("pay", &["salary", "wage", "wages", "income", "payroll", "bonus", "compensation"]),
    ("name", &["firstname", "first name", "lastname", "last name", "fullname", "full name", "surname", "forename",
        "given name", "family name", "maiden name", "middle name", "familyname", "givenname"]),
    ("health", &["diagnosis", "diagnoses", "medication", "blood type", "allergy", "allergies", "disability",
        "prescription"]),
    ("special category", &["gender", "sex", "religion", "ethnicity", "race", "nationality", "orientation", "biometric",
        "fingerprint", "political", "union member"]),
];

/// Last words that speak of something about the value, and not of it.
#[rustfmt::skip]
const ABOUT: &[&str] = &[
    "count", "enabled", "expires", "expiry", "flag", "kind", "length", "status", "template", "templates", "type", "valid",
    "verified", "version",
];

/// What a column looks like, where it looks like personal data or a secret; `None`: like neither.
pub(super) fn looks_like(name: &str, of: &str) -> Option<&'static str> {
    let words = words(name);
    let last = words.last()?;
    if ABOUT.contains(&last.as_str()) {
        return None;
    }
    let joined = format!(" {} ", words.join(" "));
    let has = |(_, texts): &&(&str, &[&str])| {
        texts
            .iter()
            .any(|text| joined.contains(&format!(" {text} ")))
    };
    let (likeness, _) = LIKENESSES.iter().find(has)?;
    let kind = Kind::of(of);
    let fits = match kind {
        Kind::Flag => false,
        // `password_changed_at`; but a date of birth is one.
        Kind::Moment => *likeness == "birth",
        // `address_id` is another table's number, and a number is a phone's or a card's all the same.
        Kind::Number => last != "id" || matches!(*likeness, "national number" | "network address"),
        Kind::Other => last != "at",
    };
    fits.then_some(*likeness)
}

/// What a value is, by its own form; `None`: nothing that is known here. The one place that looks at values.
pub fn detected(value: &str) -> Option<&'static str> {
    let value = value.trim();
    let digits: Vec<u32> = value.chars().filter_map(|c| c.to_digit(10)).collect();
    let only = |more: &str| {
        let mut all = value.chars();
        all.all(|c| c.is_ascii_digit() || more.contains(c))
    };
    if is_mail(value) {
        Some("e-mail")
    } else if is_iban(value) {
        Some("bank account")
    } else if shape(value) == "ddd-dd-dddd" {
        Some("national number")
    } else if only(" -") && (13..=19).contains(&digits.len()) && luhn(&digits) {
        Some("card")
    } else if value.starts_with('+') && only("+ -()./") && (8..=15).contains(&digits.len()) {
        Some("phone")
    } else {
        None
    }
}

fn is_mail(value: &str) -> bool {
    let Some((who, host)) = value.split_once('@') else {
        return false;
    };
    let plain = |text: &str| !text.is_empty() && !text.contains([' ', '@', '/', ',', '<', '>']);
    plain(who)
        && plain(host)
        && host.rsplit_once('.').is_some_and(|(before, top)| {
            !before.is_empty() && top.len() >= 2 && top.chars().all(char::is_alphabetic)
        })
}

/// ISO 13616: with the first four at the end and letters as numbers, 1 remains of 97.
fn is_iban(value: &str) -> bool {
    let plain: String = value.chars().filter(|c| *c != ' ').collect();
    let Some((head, tail)) = plain.split_at_checked(4) else {
        return false;
    };
    let country = head.chars().take(2).all(|c| c.is_ascii_uppercase());
    let check = head.chars().skip(2).all(|c| c.is_ascii_digit());
    if !country || !check || !(11..=30).contains(&tail.len()) {
        return false;
    }
    let mut rest = 0_u32;
    for c in tail.chars().chain(head.chars()) {
        let Some(value) = c.to_digit(36) else {
            return false;
        };
        rest = (rest * if value < 10 { 10 } else { 100 } + value) % 97;
    }
    rest == 1
}

/// ISO/IEC 7812-1, annex B.
fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match digit * (1 + u32::from(at % 2 == 1)) {
            large @ 10.. => large - 9,
            small => small,
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != 0)
}

fn shape(value: &str) -> String {
    let shaped = |c: char| if c.is_ascii_digit() { 'd' } else { c };
    value.chars().take(16).map(shaped).collect()
}

/// What the type says.
enum Kind {
    Flag,
    Moment,
    Number,
    Other,
}

impl Kind {
    fn of(of: &str) -> Kind {
        let of = of.trim_end_matches("[]");
        let starts = |words: &[&str]| words.iter().any(|word| of.starts_with(word));
        if of == "boolean" {
            Kind::Flag
        } else if starts(&["date", "time", "interval"]) {
            Kind::Moment
        } else if starts(&[
            "smallint", "integer", "bigint", "numeric", "real", "double", "uuid",
        ]) {
            Kind::Number
        } else {
            Kind::Other
        }
    }
}

/// The words of a name in lower case: parted by what is no letter, and where a capital follows a small letter.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut small = false;
    for c in name.chars() {
        if !c.is_alphabetic() || (small && c.is_uppercase()) {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphabetic() {
            word.extend(c.to_lowercase());
        }
        small = c.is_lowercase();
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_looks_like_what_its_words_say() {
        for (name, of, want) in [
            ("email", "text", Some("e-mail")),
            ("work_email", "citext", Some("e-mail")),
            ("userEmail", "text", Some("e-mail")),
            ("EMAIL2", "text", Some("e-mail")),
            ("emails", "text[]", Some("e-mail")),
            ("email_verified", "boolean", None),
            ("email_verified_at", "timestamp with time zone", None),
            ("email_count", "integer", None),
            ("phone", "bigint", Some("phone")),
            ("telegram", "text", None),
            ("hotel", "text", None),
            ("ssn", "text", Some("national number")),
            ("session", "text", None),
            ("assignee", "text", None),
            ("iban", "text", Some("bank account")),
            ("account_number", "text", Some("bank account")),
            ("card", "text", Some("card")),
            ("discard", "text", None),
            ("company", "text", None),
            ("pan", "text", Some("card")),
            ("date_of_birth", "date", Some("birth")),
            ("birthdate", "timestamp without time zone", Some("birth")),
            ("born", "text", Some("birth")),
            ("passport_id", "text", Some("passport or licence")),
            ("token", "uuid", Some("secret")),
            ("token_type", "text", None),
            ("password", "character varying(60)", Some("password")),
            ("password_changed_at", "timestamp with time zone", None),
            ("api_key", "text", Some("secret")),
            ("apiKey", "text", Some("secret")),
            ("key", "text", None),
            ("address", "jsonb", Some("address")),
            ("address_id", "bigint", None),
            ("ip_address", "inet", Some("network address")),
            ("salary", "numeric(10,2)", Some("pay")),
            ("first_name", "text", Some("name")),
            ("name", "text", None),
            ("filename", "text", None),
            ("tax_id", "bigint", Some("national number")),
            ("id", "bigint", None),
            ("", "text", None),
            ("_1", "text", None),
            ("größe", "text", None),
        ] {
            assert_eq!(looks_like(name, of), want, "{name} {of}");
        }
    }

    #[test]
    fn a_value_is_what_its_form_says() {
        for (value, want) in [
            ("ann@example.org", Some("e-mail")),
            ("ann@localhost", None),
            ("a@b@c.org", None),
            ("@x.org", None),
            ("123-45-6789", Some("national number")),
            ("123-45-67890", None),
            ("4111 1111 1111 1111", Some("card")),
            ("4111 1111 1111 1112", None),
            ("0000000000000000", None),
            ("DE89 3704 0044 0532 0130 00", Some("bank account")),
            ("DE88370400440532013000", None),
            ("+49 30 901820", Some("phone")),
            ("030 901820", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(detected(value), want, "{value}");
        }
    }

    #[test]
    fn a_name_is_parted_into_its_words() {
        for (name, want) in [
            ("home_Address2", &["home", "address"][..]),
            ("dateOfBirth", &["date", "of", "birth"]),
            ("SSN", &["ssn"]),
            ("__", &[]),
        ] {
            assert_eq!(words(name), want, "{name}");
        }
    }
}
