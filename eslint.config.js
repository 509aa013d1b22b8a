import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: ["app/static/vendor/"] },
  js.configs.recommended,
  {
    languageOptions: { globals: { ...globals.browser, ...globals.worker } },
    rules: {
      eqeqeq: "error",
      "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      "no-var": "error",
      "prefer-const": "error",
    },
  },
  { files: ["tests/page/**"], languageOptions: { globals: globals.node } },
];
