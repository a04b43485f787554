// The console keeps in the browser which theme a person chose; these pages follow it.
(() => {
    const kept = (localStorage.getItem("adminTheme") || "auto").replaceAll('"', "");
    const dark = kept === "dark" || (kept === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
    document.documentElement.classList.toggle("dark", dark);
})();
