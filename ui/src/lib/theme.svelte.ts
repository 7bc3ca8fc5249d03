export type Theme = "auto" | "light" | "dark";

/** The stored choice; `theme-boot.js` applies it before the first paint under the same key. */
const KEY = "khala.theme";

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : "auto";
  } catch {
    return "auto";
  }
}

class ThemeChoice {
  value = $state<Theme>(stored());

  choose(theme: Theme): void {
    this.value = theme;
    if (theme === "auto") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = theme;
    try {
      if (theme === "auto") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
    } catch {
      // Without storage the choice lasts as long as the page.
    }
  }
}

export const theme = new ThemeChoice();
