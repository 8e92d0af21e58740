//! What a column's name and type make it look like.

use super::Detector;

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

impl Detector {
    /// The same, as a column's name would look.
    pub const fn likeness(self) -> &'static str {
        match self {
            Detector::Email => "e-mail",
            Detector::Phone => "phone",
            Detector::Card => "card",
            Detector::Ssn => "national number",
            Detector::Iban => "bank account",
            Detector::Secret => "secret",
        }
    }
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
