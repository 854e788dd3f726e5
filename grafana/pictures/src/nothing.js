// Stands for packages that panels do not need.
export default {};
