import { ActionIcon, type MantineColorScheme, Menu, useMantineColorScheme } from "@mantine/core";
import { Check, Monitor, Moon, Sun } from "lucide-react";

const CHOICES = [
  { value: "light", name: "Light", Icon: Sun },
  { value: "dark", name: "Dark", Icon: Moon },
  { value: "auto", name: "As the system", Icon: Monitor },
] as const;

export function ThemeChoice() {
  // To stop transitions Mantine would add a style element, which the Content-Security-Policy forbids.
  const { colorScheme, setColorScheme } = useMantineColorScheme({ keepTransitions: true });
  const chosen = CHOICES.find((each) => each.value === colorScheme) ?? CHOICES[2];
  return (
    <Menu position="top-start" shadow="md">
      <Menu.Target>
        <ActionIcon aria-label={`Theme: ${chosen.name}`}>
          <chosen.Icon size={16} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        {CHOICES.map(({ value, name, Icon }) => (
          <Menu.Item
            key={value}
            leftSection={<Icon size={15} />}
            rightSection={value === colorScheme ? <Check size={14} aria-label="chosen" /> : null}
            onClick={() => setColorScheme(value satisfies MantineColorScheme)}
          >
            {name}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}
