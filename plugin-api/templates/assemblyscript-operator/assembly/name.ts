// As plugin.toml says.
export const NAME: string = "{{name}}";
