//! How AWS's names become Rust's.

/// The case a JSON protocol writes its members in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Camel,
    Pascal,
}

impl Case {
    /// As `#[serde(rename_all = …)]` has it.
    pub(crate) fn serde(self) -> &'static str {
        match self {
            Self::Camel => "camelCase",
            Self::Pascal => "PascalCase",
        }
    }

    /// What serde makes of a snake-case field name under that attribute.
    pub(crate) fn rename(self, snake: &str) -> String {
        let pascal: String = snake.split('_').map(upper_first).collect();
        match self {
            Self::Camel => lower_first(&pascal),
            Self::Pascal => pascal,
        }
    }
}

/// `awsvpcConfiguration`, `VpcId`, `taskARN`, `privateIPv4Address`: words in
/// lower case, joined by underscores.
pub(crate) fn snake(name: &str) -> String {
    let name = name.replace("IPv", "Ipv").replace("IDs", "Ids");
    let characters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (at, &character) in characters.iter().enumerate() {
        if !character.is_ascii_alphanumeric() {
            snake.push('_');
            continue;
        }
        let before = at.checked_sub(1).and_then(|at| characters.get(at));
        let after = characters.get(at + 1);
        let begins_word = character.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
            });
        if begins_word {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// A field or method: [`snake`], escaped where Rust has the word already.
pub(crate) fn field(name: &str) -> String {
    let snake = snake(name);
    match snake.as_str() {
        "type" | "return" | "ref" | "match" | "move" | "use" | "in" | "as" | "where" => {
            format!("r#{snake}")
        }
        _ => snake,
    }
}

/// A constant or static.
pub(crate) fn constant(name: &str) -> String {
    let mut constant = String::new();
    for character in snake(name).to_uppercase().chars() {
        if character != '_' || !constant.ends_with('_') {
            constant.push(character);
        }
    }
    let constant = constant.trim_matches('_').to_owned();
    if constant.starts_with(|first: char| first.is_ascii_digit()) {
        format!("_{constant}")
    } else {
        constant
    }
}

/// A struct: the shape's name, with a capital first letter.
pub(crate) fn upper_first(name: &str) -> String {
    let mut characters = name.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn lower_first(name: &str) -> String {
    let mut characters = name.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (name, expected) in [
            ("VpcId", "vpc_id"),
            ("awsvpcConfiguration", "awsvpc_configuration"),
            ("taskARN", "task_arn"),
            ("privateIPv4Address", "private_ipv4_address"),
            ("CidrIpv6", "cidr_ipv6"),
            ("IAMRoleCredentialsMessage", "iam_role_credentials_message"),
            ("EFSVolumeConfiguration", "efs_volume_configuration"),
            ("ec2Id", "ec2_id"),
            ("network-interface", "network_interface"),
        ] {
            assert_eq!(snake(name), expected);
        }
    }

    #[test]
    fn rust_has_words_of_its_own() {
        assert_eq!(field("Type"), "r#type");
        assert_eq!(field("typeName"), "type_name");
        assert_eq!(constant("Linux/UNIX (Amazon VPC)"), "LINUX_UNIX_AMAZON_VPC");
        assert_eq!(constant("2016"), "_2016");
    }

    #[test]
    fn serde_agrees() {
        for (case, name) in [(Case::Camel, "containerDefinitions"), (Case::Pascal, "VpcId")] {
            assert_eq!(case.rename(&snake(name)), name);
        }
        assert_ne!(Case::Camel.rename(&snake("taskARN")), "taskARN", "needs a rename");
    }
}
