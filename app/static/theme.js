// @ts-check
// Dark or light: as the system says, until the person says otherwise. Not a module, to run before anything is drawn.
{
  const KEY = "segment-theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = localStorage.getItem(KEY);
  if (chosen) document.documentElement.dataset.theme = chosen;

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
    const describe = () => button.setAttribute("aria-label", isDark() ? "Light colours" : "Dark colours");
    button.addEventListener("click", () => {
      document.documentElement.dataset.theme = isDark() ? "light" : "dark";
      localStorage.setItem(KEY, document.documentElement.dataset.theme);
      describe();
    });
    system.addEventListener("change", describe);
    describe();
  });
}
