// Runs before the first paint; a stored choice of theme would otherwise flash the other one first.
try {
  const theme = localStorage.getItem("khala.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage can be switched off; the system's preference then decides.
}
