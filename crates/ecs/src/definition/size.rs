//! Sizes of tasks, which AWS lets people write in two units, and what the containers
//! may take of them.

use super::invalid;
use crate::Error;
use crate::records::Spec;

/// What a task on EC2 may ask for, in CPU units.
const TASK_CPU: std::ops::RangeInclusive<i64> = 128..=196_608;

/// Checks the task's own size and writes it in plain units, as AWS does.
pub(super) fn settle(spec: &mut Spec) -> Result<(), Error> {
    if let Some(text) = &spec.cpu {
        let cpu = task_cpu(text);
        let cpu = cpu.ok_or_else(|| Error::refused("Invalid 'cpu' setting for task."))?;
        spec.cpu = Some(cpu.to_string());
    }
    if let Some(text) = &spec.memory {
        let memory = parse_memory(text)
            .ok_or_else(|| Error::refused("Invalid 'memory' setting for task."))?;
        spec.memory = Some(memory.to_string());
    }
    Ok(())
}

/// Whether the containers have memory, and all of them together no more than the
/// task.
pub(super) fn check(spec: &Spec) -> Result<(), Error> {
    let cpu = spec.cpu.as_deref().and_then(parse_cpu);
    let memory = spec.memory.as_deref().and_then(parse_memory);
    let containers = &spec.container_definitions;
    for container in containers {
        let name = container.name.as_deref().unwrap_or_default();
        let hard = container.memory.map(i64::from);
        if hard.is_none() && container.memory_reservation.is_none() && memory.is_none() {
            return Err(invalid(
                name,
                "At least one of 'memory' or 'memoryReservation' must be specified.",
            ));
        }
        if let (Some(hard), Some(memory)) = (hard, memory)
            && hard > memory
        {
            return Err(invalid(
                name,
                &format!("Its 'memory' of {hard} MiB is more than the task's {memory} MiB."),
            ));
        }
    }
    let taken = containers.iter().filter_map(|it| it.cpu).map(i64::from).sum::<i64>();
    let reserved = containers.iter().filter_map(|it| it.memory_reservation.or(it.memory));
    let reserved = reserved.map(i64::from).sum::<i64>();
    for (what, sum, limit) in [("CPU units", taken, cpu), ("MiB of memory", reserved, memory)] {
        if let Some(limit) = limit
            && sum > limit
        {
            return Err(Error::refused(format!(
                "The containers reserve {sum} {what} together, more than the task's {limit}."
            )));
        }
    }
    Ok(())
}

/// The CPU units of a whole task, if they are as many as one may have.
pub(crate) fn task_cpu(text: &str) -> Option<i64> {
    parse_cpu(text).filter(|units| TASK_CPU.contains(units))
}

/// CPU units: `256`, or virtual CPUs as in `.25 vCPU`.
pub(crate) fn parse_cpu(text: &str) -> Option<i64> {
    parse(text, "vcpu")
}

/// MiB: `512`, or gigabytes as in `0.5 GB`.
pub(crate) fn parse_memory(text: &str) -> Option<i64> {
    parse(text, "gb")
}

/// A whole number, or a decimal one of `unit`s of 1024 each.
fn parse(text: &str, unit: &str) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    let Some(number) = text.strip_suffix(unit) else {
        return text.parse().ok().filter(|size| *size > 0);
    };
    let (whole, fraction) = number.trim().split_once('.').unwrap_or((number.trim(), ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 6 {
        return None;
    }
    let digits: i64 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_i64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let size = digits.checked_mul(1024)?;
    (size > 0 && size % scale == 0).then(|| size / scale)
}

/// Whether Fargate has tasks of this size.
pub(crate) fn fits_fargate(cpu_units: i64, memory_mib: i64) -> bool {
    let (from, to, step) = match cpu_units {
        256 => return [512, 1024, 2048].contains(&memory_mib),
        512 => (1, 4, 1),
        1024 => (2, 8, 1),
        2048 => (4, 16, 1),
        4096 => (8, 30, 1),
        8192 => (16, 60, 4),
        16384 => (32, 120, 8),
        _ => return false,
    };
    let gigabytes = memory_mib / 1024;
    memory_mib % 1024 == 0 && (from..=to).contains(&gigabytes) && (gigabytes - from) % step == 0
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepted, containers, refused, task, web};
    use super::*;
    use wire::ecs::{ContainerDefinition, RegisterTaskDefinitionRequest};

    #[test]
    fn containers_fit_their_task() {
        let with = |cpu, memory, reservation| ContainerDefinition {
            cpu,
            memory,
            memory_reservation: reservation,
            ..web()
        };
        let sized = |all: &[(Option<i32>, Option<i32>, Option<i32>)]| {
            let named = |(number, (cpu, memory, reservation)): (usize, &(_, _, _))| {
                let name = Some(format!("c{number}"));
                ContainerDefinition { name, ..with(*cpu, *memory, *reservation) }
            };
            RegisterTaskDefinitionRequest {
                cpu: Some("256".to_owned()),
                memory: Some("0.5 GB".to_owned()),
                ..containers(all.iter().enumerate().map(named).collect())
            }
        };
        for request in [
            containers(vec![with(None, None, Some(64))]),
            sized(&[(None, None, None)]),
            sized(&[(Some(128), Some(512), Some(256)), (Some(128), Some(512), Some(256))]),
        ] {
            accepted(request);
        }
        for (request, wanted) in [
            (
                containers(vec![with(None, None, None)]),
                "Invalid setting for container 'web'. At least one of 'memory' or \
                 'memoryReservation' must be specified.",
            ),
            (sized(&[(None, Some(513), None)]), "Its 'memory' of 513 MiB is more than the task's"),
            (
                sized(&[(Some(128), None, None), (Some(129), None, None)]),
                "The containers reserve 257 CPU units together, more than the task's 256.",
            ),
            (
                sized(&[(None, Some(300), None), (None, Some(300), None)]),
                "The containers reserve 600 MiB of memory together, more than the task's 512.",
            ),
            (task(|it| it.cpu = Some("many".into())), "Invalid 'cpu' setting for task."),
            (task(|it| it.cpu = Some("127".into())), "Invalid 'cpu' setting for task."),
            (task(|it| it.memory = Some("-1".into())), "Invalid 'memory' setting for task."),
        ] {
            refused(request, wanted);
        }
    }

    #[test]
    fn both_units() {
        for (text, wanted) in [
            ("256", Some(256)),
            (".25 vCPU", Some(256)),
            ("0.25vcpu", Some(256)),
            ("1 vCPU", Some(1024)),
            ("16 VCPU", Some(16384)),
            ("", None),
            ("0", None),
            ("-1", None),
            ("lots", None),
            ("vCPU", None),
            (".", None),
            (". vCPU", None),
            ("1.0001 vCPU", None),
            ("99999999999999999999", None),
            ("9999999999999999 vCPU", None),
        ] {
            assert_eq!(parse_cpu(text), wanted, "{text:?}");
        }
        assert_eq!(parse_memory("0.5GB"), Some(512));
        assert_eq!(parse_memory("2 GB"), Some(2048));
        assert_eq!(parse_memory("2048"), Some(2048));
    }

    #[test]
    fn fargate_has_a_table() {
        for (cpu, memory, fits) in [
            (256, 512, true),
            (256, 2048, true),
            (256, 3072, false),
            (512, 512, false),
            (512, 1024, true),
            (1024, 8192, true),
            (4096, 30720, true),
            (8192, 16384, true),
            (8192, 17408, false),
            (16384, 122_880, true),
            (300, 1024, false),
        ] {
            assert_eq!(fits_fargate(cpu, memory), fits, "{cpu} {memory}");
        }
    }
}
