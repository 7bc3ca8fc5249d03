/** A warning (most of them are about accessibility) fails the build. */
export default {
  onwarn(warning) {
    throw new Error(`${warning.code} in ${warning.filename}: ${warning.message}`);
  },
};
