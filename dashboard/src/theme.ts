import { ActionIcon, Button, createTheme, type MantineColorsTuple, Menu, Modal, Switch, Tooltip } from "@mantine/core";

/** The one accent. `styles/tokens.css` has the same ten colours: no style element is made at run time. */
const petrol: MantineColorsTuple = [
  "#e6f5f5",
  "#cfe8e8",
  "#a3d0d0",
  "#72b8b9",
  "#4aa3a6",
  "#25898d",
  "#117a7e",
  "#0b6b6f",
  "#075c60",
  "#034c50",
];

export const theme = createTheme({
  primaryColor: "teal",
  primaryShade: { light: 7, dark: 6 },
  colors: { teal: petrol },
  fontFamily: "var(--sans)",
  fontFamilyMonospace: "var(--mono)",
  defaultRadius: "sm",
  cursorType: "pointer",
  respectReducedMotion: true,
  components: {
    // Locking the scroll position would add a style element, which the Content-Security-Policy forbids.
    Modal: Modal.extend({
      defaultProps: {
        lockScroll: false,
        closeButtonProps: { "aria-label": "Close" },
        centered: true,
        transitionProps: { duration: 120 },
        overlayProps: { backgroundOpacity: 0.45 },
      },
    }),
    // A menu has items only: the first of them takes the focus.
    Menu: Menu.extend({ defaultProps: { withInitialFocusPlaceholder: false } }),
    Tooltip: Tooltip.extend({ defaultProps: { openDelay: 250, withArrow: true, multiline: true, maw: 320 } }),
    Switch: Switch.extend({ defaultProps: { withThumbIndicator: false } }),
    Button: Button.extend({ defaultProps: { size: "xs" } }),
    ActionIcon: ActionIcon.extend({ defaultProps: { variant: "subtle", color: "gray" } }),
  },
});
